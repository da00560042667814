"""Max-pooling winners as small codes: the position within the window instead of the position in the plane.

An output needs 2 bits for a 2 x 2 window and 4 bits for a 3 x 3 window. A flat index needs 16 bits or more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

#: A pooling call without its input: values -> (maxima, winners), as in ``F.max_pool2d_with_indices``.
Pooling = Callable[[Tensor], tuple[Tensor, Tensor]]

_WIDTHS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, eq=False)
class WinnerCode:
    """How the winners of one max-pooling call are encoded.

    Attributes
    ----------
    first : Tensor
        int64 ``(outputs,)``: flat index of the first position of each output's window.
    offsets : Tensor
        int64, ascending: code -> distance of a position from the first position of its window.
    """

    first: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, pooling: Pooling, plane: tuple[int, ...]) -> "WinnerCode":
        """Return the code for ``pooling`` on inputs of spatial size ``plane``.

        The windows are found by pooling: the winner of a window among descending values is its first position,
        the winner among ascending values its last. This holds for strides, padding, dilation, ceil mode and
        adaptive pooling alike.
        """
        places = torch.arange(torch.Size(plane).numel(), dtype=torch.float64).view(1, 1, *plane)
        first, last = (torch.unravel_index(pooling(p)[1].flatten(), plane) for p in (-places, places))
        box = [int((z - a).max()) + 1 for a, z in zip(first, last, strict=True)]
        grid = torch.meshgrid(*(torch.arange(size) for size in box), indexing="ij")
        return cls(_flat(first, plane), _flat(grid, plane).flatten())

    def __eq__(self, other: object) -> bool:
        """Return whether both encode winners alike."""
        if not isinstance(other, WinnerCode):
            return NotImplemented
        return torch.equal(self.first, other.first) and torch.equal(self.offsets, other.offsets)

    def __hash__(self) -> int:
        """Equal codes have equal hashes."""
        return hash((len(self.first), len(self.offsets)))

    @property
    def bits(self) -> int:
        """Bits of an encoded winner."""
        needed = max(1, (len(self.offsets) - 1).bit_length())
        return next(width for width in _WIDTHS if width >= needed + (needed > 8))  # signed from 16 on

    def encode(self, winners: Tensor) -> Tensor:
        """Pack flat indices int64 ``(samples, channels * outputs)`` into uint8 ``(samples, bytes)``."""
        distance = winners.view(len(winners), -1, len(self.first)) - _on(self.first, winners.device)
        codes = torch.searchsorted(_on(self.offsets, winners.device), distance.flatten(1))
        if self.bits >= 8:
            return codes.to(_integer(self.bits)).view(torch.uint8)
        in_byte = 8 // self.bits
        padded = torch.nn.functional.pad(codes.to(torch.uint8), (0, -codes.shape[1] % in_byte))
        parts = padded.view(len(codes), in_byte, -1)
        packed = parts[:, 0].clone()
        for place in range(1, in_byte):
            packed |= parts[:, place] << (place * self.bits)
        return packed

    def decode(self, packed: Tensor, count: int) -> Tensor:
        """Return the flat indices int64 ``(samples, count)`` of ``packed`` uint8 ``(samples, bytes)``."""
        if self.bits >= 8:
            codes = packed.contiguous().view(_integer(self.bits))
        else:
            places = torch.arange(0, 8, self.bits, dtype=torch.uint8, device=packed.device).view(-1, 1)
            codes = ((packed.unsqueeze(1) >> places) & (2**self.bits - 1)).flatten(1)[:, :count]
        distance = _on(self.offsets, packed.device)[codes.to(torch.int32)]
        return (distance.view(len(packed), -1, len(self.first)) + _on(self.first, packed.device)).flatten(1)

    def bytes_for(self, count: int) -> int:
        """Return the number of bytes of ``count`` encoded winners."""
        return -(-count * self.bits // 8)


@lru_cache
def _on(table: Tensor, device: torch.device) -> Tensor:
    """Return ``table`` on ``device``, moved once: a copy in each step would wait for the device."""
    return table.to(device)


def _flat(coordinates: tuple[Tensor, ...], plane: tuple[int, ...]) -> Tensor:
    flat = torch.zeros_like(coordinates[0])
    for coordinate, size in zip(coordinates, plane, strict=True):
        flat = flat * size + coordinate
    return flat


def _integer(bits: int) -> torch.dtype:
    return {8: torch.uint8, 16: torch.int16, 32: torch.int32}[bits]
