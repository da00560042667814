"""Gates as bits, and the arithmetic that applies them without unpacking them into floats.

A bit says whether an activation is in one of its regimes; `layout` says which bits an activation has. The bits of a
sample lie in 32 planes. Of ``n`` activations in memory order, activation ``k * words + j`` is bit
``31 - k`` of word ``j``, where ``words = ceil(n / 32)``. A set bit is a *closed* gate.

Shifting all words left by ``k`` therefore puts the bits of plane ``k`` in the sign bits. ``threshold_backward`` on
the bit patterns of the values, read as integers, then passes the values whose gate is open: the result is an
exact copy or an exact +0, as in torch's own ReLU. Shift and threshold are vectorised operations on contiguous
memory. No mask of floats is made, and the backward pass keeps the bits only (our choice, measured by
``scripts/bench``).
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

PLANES = 32

#: Activations handled at a time on a CPU, so that intermediate values stay in the CPU's cache.
CHUNK = 2**18

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def words_for(count: int) -> int:
    """Return the number of words that hold the gates of ``count`` activations."""
    return -(-count // PLANES)


def pack_bits(rectified: Tensor) -> Tensor:
    """Pack gates: open where a ReLU's output is positive, closed where it is 0 or NaN.

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
    # float32 adds up to 24 different powers of two exactly; 32 planes are packed as two halves of 16.
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


def gate_bits(
    values: Tensor | float, words: Tensor, *, out: Tensor, others: Sequence[tuple[Tensor | float, Tensor]] = ()
) -> Tensor:
    """Write to ``out`` the ``values`` whose gate is open, and +0 where a gate is closed.

    Parameters
    ----------
    values, out : Tensor
        ``(samples, count)``, contiguous, of the same floating-point dtype; they may be the same tensor. Or ``values``
        is a number.
    words : Tensor
        int32 ``(samples, words_for(count))``; the rows need not be adjacent in memory.
    others : sequence of (Tensor or float, Tensor)
        What is written where other gates are open: values like ``values`` or a number, and the words of these gates.
        No activation has two open gates.
    """
    target, step = as_integers(out, out), _samples_at_a_time(out)
    parts = [(as_integers(value, out), gates) for value, gates in ((values, words), *others)]
    if len(out) <= step:
        _gate_some(parts, target)
        return out
    for begin in range(0, len(out), step):
        some = slice(begin, begin + step)
        _gate_some([(value[some] if value.dim() else value, gates[some]) for value, gates in parts], target[some])
    return out


def _gate_some(parts: Sequence[tuple[Tensor, Tensor]], target: Tensor) -> None:
    write_open(((value, _signs(words, target)) for value, words in parts), target)


def write_open(parts: Iterable[tuple[Tensor, Tensor]], target: Tensor) -> None:
    """Write to ``target`` the integers of each part where its signs are not negative, and 0 elsewhere.

    Parameters
    ----------
    parts : iterable of (Tensor, Tensor)
        Integers that broadcast to ``target``, and signs of its dtype and shape, which may be overwritten.
    target : Tensor
        Integers; it may be the first part.
    """
    for place, (source, signs) in enumerate(parts):
        if place == 0:
            torch.ops.aten.threshold_backward.grad_input(source, signs, -1, grad_input=target)
        else:
            # The result takes the place of the signs, which saves memory that is not in the CPU's cache yet.
            torch.ops.aten.threshold_backward.grad_input(source.expand_as(signs), signs, -1, grad_input=signs)
            target.bitwise_or_(signs)


def as_integers(value: Tensor | float, like: Tensor) -> Tensor:
    """Return the bit patterns of floating-point values, a view; or that of a number in the dtype of ``like``."""
    values = value if isinstance(value, Tensor) else torch.full((), value, dtype=like.dtype, device=like.device)
    return values.view(_INTEGERS[values.element_size()])


def _signs(words: Tensor, target: Tensor) -> Tensor:
    """Return integers like ``target`` that are negative where a gate is closed."""
    signs = _as_signed(words.unsqueeze(1) << _shifts(words.device), target.dtype).flatten(1)
    return signs if signs.shape == target.shape else signs[:, : target.shape[1]]  # the last plane may not be full


def _samples_at_a_time(values: Tensor) -> int:
    samples, count = values.shape
    return max(1, CHUNK // max(count, 1)) if values.device.type == "cpu" else max(1, samples)


@lru_cache
def _shifts(device: torch.device) -> Tensor:
    return torch.arange(PLANES, dtype=torch.int32, device=device).view(PLANES, 1)


def _as_signed(shifted: Tensor, integers: torch.dtype) -> Tensor:
    """Return integers of the dtype ``integers`` with the signs of ``shifted``."""
    if integers == torch.int16:
        return shifted.view(torch.int16)[..., 1::2]  # the upper halves, on a little-endian machine
    return shifted.to(integers)
