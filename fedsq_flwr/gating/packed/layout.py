"""How the packed gates of one call are laid out in a sample's row of bytes."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fedsq_flwr.gating.packed import native
from fedsq_flwr.gating.packed.bits import pack_bits, unpack_bits, words_for
from fedsq_flwr.gating.packed.winners import WinnerCode

_WORD = 4  # bytes; rows are read as words of 32 bits


@dataclass(frozen=True)
class ReluLayout:
    """The gates of one ReLU call: one bit for each activation.

    Attributes
    ----------
    shape : tuple of int
        Shape of the activation of one sample.
    channels_last : bool
        Whether the bits are in the order of a channels-last activation.
    layer : str or None
        The layer that made the activation, as far as it is known.
    """

    shape: tuple[int, ...]
    channels_last: bool
    layer: str | None = None

    @classmethod
    def of(cls, activation: Tensor, layer: str | None = None) -> "ReluLayout":
        """Return the layout that has the memory order of ``activation`` ``(samples, ...)``."""
        channels_last = is_channels_last(activation)
        return cls(tuple(activation.shape[1:]), channels_last, layer)

    @cached_property
    def count(self) -> int:
        """Number of activations of a sample."""
        return math.prod(self.shape)

    @cached_property
    def nbytes(self) -> int:
        """Number of bytes of a sample."""
        return _WORD * words_for(self.count)

    def fits(self, value: Tensor) -> bool:
        """Return whether the memory of ``value`` is in the order of the bits."""
        return self._in_order(value).is_contiguous()

    def flat(self, value: Tensor) -> Tensor:
        """Return a view of ``value``, which must fit, as ``(samples, count)`` in the order of the bits."""
        return self._in_order(value).view(value.shape[0], self.count)

    def ordered(self, value: Tensor) -> Tensor:
        """Return a copy of ``value`` in memory that `flat` can view."""
        return value.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def pack(self, rectified: Tensor) -> Tensor:
        """Pack a ReLU's output into uint8 ``(samples, nbytes)``."""
        flat = self._in_order(rectified).reshape(len(rectified), self.count)
        fast = flat.device.type == "cpu" and native.is_loaded()
        words = torch.ops.fedsq_flwr.pack(flat) if fast else pack_bits(flat)
        return words.view(torch.uint8)

    def unpack(self, packed: Tensor) -> Tensor:
        """Return the mask: bool ``(samples, *shape)``, True where the gate is open."""
        mask = unpack_bits(packed.view(torch.int32), self.count)
        if not self.channels_last:
            return mask.reshape(len(packed), *self.shape)
        return mask.reshape(len(packed), *self.shape[1:], self.shape[0]).movedim(-1, 1)

    def _in_order(self, value: Tensor) -> Tensor:
        return value.movedim(1, -1) if self.channels_last else value


@dataclass(frozen=True)
class PoolLayout:
    """The winners of one max-pooling call: a small code for each output.

    Attributes
    ----------
    shape : tuple of int
        Shape of the pooled activation of one sample.
    plane : tuple of int
        Spatial size of the pooling's input.
    code : WinnerCode
        How winners are encoded.
    layer : str or None
        The layer that made the pooling's input, as far as it is known.
    """

    shape: tuple[int, ...]
    plane: tuple[int, ...]
    code: WinnerCode
    layer: str | None = None

    @property
    def count(self) -> int:
        """Number of outputs of a sample."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes of a sample."""
        return -(-self.code.bytes_for(self.count) // _WORD) * _WORD

    def pack(self, winners: Tensor) -> Tensor:
        """Pack flat indices int64 ``(samples, *shape)`` into uint8 ``(samples, nbytes)``."""
        packed = self.code.encode(winners.reshape(len(winners), self.count))
        return F.pad(packed, (0, self.nbytes - packed.shape[1]))

    def unpack(self, packed: Tensor) -> Tensor:
        """Return the winners, int64 ``(samples, *shape)``: flat indices into the plane."""
        winners = self.code.decode(packed[:, : self.code.bytes_for(self.count)], self.count)
        return winners.view(len(packed), *self.shape)


def is_channels_last(value: Tensor) -> bool:
    """Return whether ``value`` ``(N, C, H, W)`` lies in memory as ``(N, H, W, C)`` and not as ``(N, C, H, W)``."""
    return value.dim() == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last)
