"""How a gate is applied to a tensor, with gradients.

Exactness (METHOD: equal at the start, to the bit). Forward and backward, a gated ReLU passes a value
where the gate is open and puts an exact +0 elsewhere, which is what torch's own ReLU does. Max-pooling
becomes a gather of the winners, whose backward pass adds gradients where ``max_pool``'s does.
"""

from typing import Any

import torch
from torch import Tensor

from fedsq_flwr.gating.packed import native
from fedsq_flwr.gating.packed.bits import gate_bits
from fedsq_flwr.gating.packed.layout import ReluLayout, is_channels_last


def gate_by_source(value: Tensor, source: Tensor, *, in_place: bool) -> Tensor:
    """Gate ``value`` where ``source``, of the same shape, is positive; nothing but the source is kept."""
    if source.dtype != value.dtype:  # autocast, or a bool mask; torch would promote the value instead
        source = source.to(value.dtype)
    if in_place:
        return _SourceInPlace.apply(value, source)  # type: ignore[no-any-return]
    return torch.ops.aten.threshold_backward(value, source, 0)  # type: ignore[no-any-return]


def gate_by_bits(value: Tensor, words: Tensor, layout: ReluLayout, *, in_place: bool) -> Tensor:
    """Gate ``value`` by packed bits, int32 ``(samples, words)``; nothing but the bits is kept."""
    if value.device.type == "cpu" and native.is_loaded():
        gate = torch.ops.fedsq_flwr.gate_ if in_place else torch.ops.fedsq_flwr.gate
        return gate(value, words, layout.channels_last)  # type: ignore[no-any-return]
    return _Bits.apply(value, words, layout, in_place)  # type: ignore[no-any-return]


def gather_winners(value: Tensor, winners: Tensor, spatial_dims: int) -> Tensor:
    """Take the values at ``winners``, flat indices into the last ``spatial_dims`` dimensions of ``value``."""
    if is_channels_last(value):  # gather there too, so that what comes next finds the memory as it was
        places = winners.movedim(1, -1)
        taken = value.movedim(1, -1).flatten(1, 2).gather(1, places.flatten(1, 2))
        return taken.view(places.shape).movedim(-1, 1)
    flat = value.flatten(-spatial_dims).gather(-1, winners.flatten(-spatial_dims))
    return flat.view(winners.shape)


class _SourceInPlace(torch.autograd.Function):
    """Gate a tensor in place, as an in-place ReLU would, keeping the network's aliasing as it is."""

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
        if not layout.fits(value):  # a part of a larger tensor
            return value.copy_(_gated(value, words, layout))
        gate_bits(layout.flat(value), words, out=layout.flat(value))
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        # Into a new tensor: the incoming gradient is shared at residual adds, and must not be written to.
        (words,) = ctx.saved_tensors
        return _Bits.apply(gradient, words, ctx.layout, False), None, None, None


def _gated(value: Tensor, words: Tensor, layout: ReluLayout) -> Tensor:
    fitting = value if layout.fits(value) else layout.ordered(value)
    output = torch.empty_like(fitting)
    gate_bits(layout.flat(fitting), words, out=layout.flat(output))
    return output
