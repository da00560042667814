"""Applying a gate to a tensor, with gradients.

The results are exact, so that the dual copy equals the plain network at the start to the bit. Forward and
backward, a gated ReLU passes a value where the gate is open and gives an exact +0 elsewhere, as torch's own ReLU
does. Other activations multiply by the slope of the regime and add its offset, where these are not 1 and 0. A gated
max-pooling gathers the winners; the backward pass of the gather adds gradients at the same places as that of
``max_pool``.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedsq_flwr.gating.packed import native
from fedsq_flwr.gating.packed.bits import as_integers, gate_bits, write_open
from fedsq_flwr.gating.packed.layout import ActivationLayout, is_channels_last
from fedsq_flwr.gating.packed.regimes import RELU, Regimes


def gate_by_source(
    value: Tensor, source: Tensor, regimes: Regimes, *, in_place: bool, slope: Tensor | None = None
) -> Tensor:
    """Map ``value`` by the regimes that the signs of ``source``, of the same shape, say.

    The backward pass keeps ``source`` only; ``value`` too if there is a ``slope`` that learns.
    """
    if regimes != RELU:
        return _Regimes.apply(value, slope, source, _How(regimes, None, in_place))  # type: ignore[no-any-return]
    if source.dtype != value.dtype:  # autocast, or a bool mask; torch would promote the value instead
        source = (source > 0).to(value.dtype)  # a small float32 may be 0 in float16
    if in_place:
        return _SourceInPlace.apply(value, source)  # type: ignore[no-any-return]
    return torch.ops.aten.threshold_backward(value, source, 0)  # type: ignore[no-any-return]


def gate_by_bits(
    value: Tensor, words: Tensor, layout: ActivationLayout, *, in_place: bool, slope: Tensor | None = None
) -> Tensor:
    """Map ``value`` by the regimes in packed bits, int32 ``(samples, words)``.

    The backward pass keeps the bits only; ``value`` too if there is a ``slope`` that learns.
    """
    regimes = layout.regimes
    if value.device.type == "cpu" and slope is None and regimes.divisor == 1 and native.is_loaded():
        gate = torch.ops.fedsq_flwr.gate_ if in_place else torch.ops.fedsq_flwr.gate
        return gate(value, words, regimes.slopes, regimes.offsets, layout.channels_last)  # type: ignore[no-any-return]
    return _Regimes.apply(value, slope, words, _How(regimes, layout, in_place))  # type: ignore[no-any-return]


def gather_winners(value: Tensor, winners: Tensor, spatial_dims: int) -> Tensor:
    """Return the values at ``winners``, flat indices into the last ``spatial_dims`` dimensions of ``value``."""
    if is_channels_last(value):  # keeps the memory format for the layers that follow
        places = winners.movedim(1, -1)
        taken = value.movedim(1, -1).flatten(1, 2).gather(1, places.flatten(1, 2))
        return taken.view(places.shape).movedim(-1, 1)
    flat = value.flatten(-spatial_dims).gather(-1, winners.flatten(-spatial_dims))
    return flat.view(winners.shape)


class _SourceInPlace(torch.autograd.Function):
    """Gate a tensor in place, as an in-place ReLU does, so that views of it see the result too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, source: Tensor) -> Tensor:
        ctx.mark_dirty(value)
        ctx.save_for_backward(source)
        torch.ops.aten.threshold_backward.grad_input(value, source, 0, grad_input=value)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (source,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, source, 0), None


class _How(NamedTuple):
    """By what a tensor is mapped, beside marks: words of bits if there is a layout, else a tensor of signs."""

    regimes: Regimes
    layout: ActivationLayout | None
    in_place: bool = False


class _Regimes(torch.autograd.Function):
    """Map a tensor by regimes."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, slope: Tensor | None, marks: Tensor, how: _How) -> Tensor:
        ctx.save_for_backward(marks, *(() if slope is None else (slope, value)))
        ctx.how = how
        if how.in_place:
            ctx.mark_dirty(value)
        return _mapped(value, slope, marks, how)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Into a new tensor: at residual adds other branches share the incoming gradient.
        marks, *learnt = ctx.saved_tensors
        mapped = _Regimes.apply if torch.is_grad_enabled() else _mapped  # for gradients of gradients
        regimes, layout, _ = ctx.how
        slope, of_slope = None, None
        if learnt:
            slope, value = learnt
            # Of the shape of the value: autograd sums it to the shape of the slope.
            of_slope = mapped(gradient * value, None, marks, _How(regimes.where_learnt, layout))
        return mapped(gradient, slope, marks, _How(regimes.without_offsets, layout)), of_slope, None, None


def _mapped(value: Tensor, slope: Tensor | None, marks: Tensor, how: _How) -> Tensor:
    regimes, layout, in_place = how
    if layout is None:
        output = value if in_place else torch.empty_like(value)
        return _write_by_signs(regimes.values(value, slope), marks, output)
    fitting = layout.fitting(value)
    output = value if in_place and fitting is value else torch.empty_like(fitting)
    (first, words), *others = [
        (term if isinstance(term, float) else layout.flat(layout.fitting(term)), layout.words(marks, regime))
        for regime, term in regimes.values(fitting, slope)
    ]
    gate_bits(first, words, out=layout.flat(output), others=others)
    return value.copy_(output) if in_place and output is not value else output  # such as a slice of a larger tensor


def _write_by_signs(terms: Iterable[tuple[int, Tensor | float]], source: Tensor, output: Tensor) -> Tensor:
    signs, target = source.sign().to(torch.int8), as_integers(output, output)
    closed = (signs - 1, -signs.abs(), -1 - signs)  # by regime, negative where an element is in another one
    parts = [(as_integers(term, output), closed[regime].to(target.dtype)) for regime, term in terms]
    write_open(parts, target)
    return output
