"""ReLU gates as bits, and the arithmetic that applies them without unpacking them into floats.

A sample's gates lie in 32 planes: of ``n`` activations in memory order, number ``k * words + j`` is bit
``31 - k`` of word ``j``, where ``words = ceil(n / 32)``. A set bit is a *closed* gate. So one shift of all
words by ``k`` puts the bits of plane ``k`` where an integer has its sign, and ``threshold_backward`` on
the values' own bit patterns, read as integers, passes just those whose gate is open: an exact copy or an
exact +0, as torch's own ReLU gives. Both are vectorised operations on contiguous memory. No mask of
floats is made, and nothing but the bits is kept for the backward pass (our choice, measured by
``scripts/bench``).
"""

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

PLANES = 32

#: Activations handled at a time on a CPU, so that what is made on the way stays in its cache.
CHUNK = 2**18

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def words_for(count: int) -> int:
    """Return the words that hold the gates of ``count`` activations."""
    return -(-count // PLANES)


def pack_bits(rectified: Tensor) -> Tensor:
    """Pack the gates of a ReLU: open where its output is positive; closed where that is 0 or NaN.

    Parameters
    ----------
    rectified : Tensor
        Outputs of the ReLU ``(samples, count)``, none negative; or bool.

    Returns
    -------
    Tensor
        int32 ``(samples, words_for(count))``, on the same device.
    """
    samples, count = rectified.shape
    words = words_for(count)
    # A sum of different powers of two is exact in float32 up to 24 of them: two halves of 16 planes.
    powers = 2.0 ** torch.arange(15, -1, -1, dtype=torch.float32, device=rectified.device)
    weights = torch.stack([F.pad(powers, (0, 16)), F.pad(powers, (16, 0))])
    packed = torch.empty((samples, words), dtype=torch.int32, device=rectified.device)
    step = _samples_at_a_time(rectified)
    for some, into in zip(torch.split(rectified, step), torch.split(packed, step), strict=True):
        is_open = torch.sign(some).to(torch.float32)
        planes = F.pad(is_open, (0, words * PLANES - count)) if count % PLANES else is_open
        with torch.autocast(rectified.device.type, enabled=False):
            halves = torch.matmul(weights, planes.view(-1, PLANES, words)).to(torch.int32)
        torch.bitwise_or(halves[:, 0] << 16, halves[:, 1], out=into)
    return packed.bitwise_not_()


def unpack_bits(words: Tensor, count: int) -> Tensor:
    """Return the gates of ``count`` activations, bool ``(samples, count)``: True where they are open."""
    return (words.unsqueeze(1) << _shifts(words.device) >= 0).flatten(1)[:, :count]


def gate_bits(values: Tensor, words: Tensor, *, out: Tensor) -> Tensor:
    """Write ``values`` to ``out``, and +0 where a gate is closed.

    Parameters
    ----------
    values, out : Tensor
        ``(samples, count)``, contiguous, of one floating-point dtype; they may be one tensor.
    words : Tensor
        int32 ``(samples, words_for(count))``; its rows may lie apart.
    """
    integers = _INTEGERS[values.element_size()]
    source = values.view(integers)
    target = source if out is values else out.view(integers)
    step = _samples_at_a_time(values)
    if len(values) <= step:
        _gate_some(source, words, target)
    else:
        for some in zip(*(torch.split(part, step) for part in (source, words, target)), strict=True):
            _gate_some(*some)
    return out


def _gate_some(source: Tensor, words: Tensor, target: Tensor) -> None:
    shifted = words.unsqueeze(1) << _shifts(words.device)
    signs = _as_signed(shifted, source.dtype).flatten(1)
    if signs.shape != source.shape:  # the last plane is not full
        signs = signs[:, : source.shape[1]]
    torch.ops.aten.threshold_backward.grad_input(source, signs, -1, grad_input=target)


def _samples_at_a_time(values: Tensor) -> int:
    samples, count = values.shape
    return max(1, CHUNK // max(count, 1)) if values.device.type == "cpu" else max(1, samples)


@lru_cache
def _shifts(device: torch.device) -> Tensor:
    return torch.arange(PLANES, dtype=torch.int32, device=device).view(PLANES, 1)


def _as_signed(shifted: Tensor, integers: torch.dtype) -> Tensor:
    """Return integers of another width with the same signs."""
    if integers == torch.int16:
        return shifted.view(torch.int16)[..., 1::2]  # the upper halves: all machines of ours are little-endian
    return shifted.to(integers)
