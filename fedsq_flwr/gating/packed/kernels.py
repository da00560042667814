"""Applying a gate to a tensor, with gradients.

The results are exact, so that the dual copy equals the plain network at the start to the bit. Forward and
backward, a gated ReLU passes a value where the gate is open and gives an exact +0 elsewhere, as torch's own ReLU
does. A gated max-pooling gathers the winners; the backward pass of the gather adds gradients at the same places as
that of ``max_pool``.
"""

from typing import Any

import torch
from torch import Tensor

from fedsq_flwr.gating.packed import native
from fedsq_flwr.gating.packed.bits import gate_bits
from fedsq_flwr.gating.packed.layout import ReluLayout, is_channels_last


def gate_by_source(value: Tensor, source: Tensor, *, in_place: bool) -> Tensor:
    """Pass ``value`` where ``source``, of the same shape, is positive; the backward pass keeps ``source`` only."""
    if source.dtype != value.dtype:  # autocast, or a bool mask; torch would promote the value instead
        source = (source > 0).to(value.dtype)  # a small float32 may be 0 in float16
    if in_place:
        return _SourceInPlace.apply(value, source)  # type: ignore[no-any-return]
    return torch.ops.aten.threshold_backward(value, source, 0)  # type: ignore[no-any-return]


def gate_by_bits(value: Tensor, words: Tensor, layout: ReluLayout, *, in_place: bool) -> Tensor:
    """Gate ``value`` by packed bits, int32 ``(samples, words)``; the backward pass keeps the bits only."""
    if value.device.type == "cpu" and native.is_loaded():
        gate = torch.ops.fedsq_flwr.gate_ if in_place else torch.ops.fedsq_flwr.gate
        return gate(value, words, layout.channels_last)  # type: ignore[no-any-return]
    return _Bits.apply(value, words, layout, in_place)  # type: ignore[no-any-return]


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


class _Bits(torch.autograd.Function):
    """Gate a tensor by bits, in place or not."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, words: Tensor, layout: ReluLayout, in_place: bool) -> Tensor:
        ctx.save_for_backward(words)
        ctx.layout = layout
        if not in_place:
            return _gated(value, words, layout)
        ctx.mark_dirty(value)
        if not layout.fits(value):  # such as a slice of a larger tensor
            return value.copy_(_gated(value, words, layout))
        gate_bits(layout.flat(value), words, out=layout.flat(value))
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        # Into a new tensor: at residual adds other branches share the incoming gradient.
        (words,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # for gradients of gradients
            return _Bits.apply(gradient, words, ctx.layout, False), None, None, None
        return _gated(gradient, words, ctx.layout), None, None, None


def _gated(value: Tensor, words: Tensor, layout: ReluLayout) -> Tensor:
    fitting = value if layout.fits(value) else layout.ordered(value)
    output = torch.empty_like(fitting)
    gate_bits(layout.flat(fitting), words, out=layout.flat(output))
    return output
