"""How the packed gates of one call are laid out in a sample's row of bytes."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fedsq_flwr.gating.packed import native
from fedsq_flwr.gating.packed.bits import pack_bits, unpack_bits, words_for
from fedsq_flwr.gating.packed.regimes import RELU, Regimes
from fedsq_flwr.gating.packed.winners import WinnerCode

_WORD = 4  # bytes; rows are read as words of 32 bits


@dataclass(frozen=True)
class ActivationLayout:
    """The gates of one call of an activation: one bit for each element, or two where there are three regimes.

    The first bit is clear where the element is in regime 0, the second, in words of its own, where it is in regime 2.

    Attributes
    ----------
    shape : tuple of int
        Shape of the activation of one sample.
    channels_last : bool
        Whether the bits are in the order of a channels-last activation.
    layer : str or None
        The layer that made the activation, as far as it is known.
    regimes : Regimes
        Slopes and offsets.
    """

    shape: tuple[int, ...]
    channels_last: bool
    layer: str | None = None
    regimes: Regimes = RELU

    @classmethod
    def of(cls, activation: Tensor, layer: str | None = None, regimes: Regimes = RELU) -> "ActivationLayout":
        """Return the layout that has the memory order of ``activation`` ``(samples, ...)``."""
        channels_last = is_channels_last(activation)
        return cls(tuple(activation.shape[1:]), channels_last, layer, regimes)

    @cached_property
    def count(self) -> int:
        """Number of elements of a sample."""
        return math.prod(self.shape)

    @cached_property
    def nbytes(self) -> int:
        """Number of bytes of a sample."""
        return _WORD * words_for(self.count) * self.regimes.bits

    def fits(self, value: Tensor) -> bool:
        """Return whether the memory of ``value`` is in the order of the bits."""
        return self._in_order(value).is_contiguous()

    def flat(self, value: Tensor) -> Tensor:
        """Return a view of ``value``, which must fit, as ``(samples, count)`` in the order of the bits."""
        return self._in_order(value).view(value.shape[0], self.count)

    def fitting(self, value: Tensor) -> Tensor:
        """Return ``value`` or, if it does not fit, a copy in memory that `flat` can view."""
        if self.fits(value):
            return value
        return value.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def pack(self, marks: Tensor) -> Tensor:
        """Pack marks, such as a ReLU's output, into uint8 ``(samples, nbytes)``."""
        flat = self._in_order(marks).reshape(len(marks), self.count)
        if self.regimes.bits == 1:
            return _pack(flat).view(torch.uint8)
        return torch.cat([_pack(flat > 0), _pack(flat < 0)], 1).view(torch.uint8)

    def unpack(self, packed: Tensor) -> Tensor:
        """Return the mask: bool ``(samples, *shape)``, True where the gate is open, that is in regime 0."""
        return self._shaped(unpack_bits(self.words(packed.view(torch.int32), 0), self.count))

    def unpack_regimes(self, packed: Tensor) -> Tensor:
        """Return the regime of each element: uint8 ``(samples, *shape)``."""
        regimes = (~self.unpack(packed)).to(torch.uint8)
        if self.regimes.bits == 2:
            regimes += self._shaped(unpack_bits(self.words(packed.view(torch.int32), 2), self.count))
        return regimes

    def words(self, words: Tensor, regime: int) -> Tensor:
        """Return the words whose bits are clear where an element is in ``regime``."""
        if self.regimes.bits == 1:
            return words if regime == 0 else ~words
        size = words.shape[1] // 2
        if regime == 1:
            return ~(words[:, :size] & words[:, size:])
        return words[:, :size] if regime == 0 else words[:, size:]

    def _shaped(self, flat: Tensor) -> Tensor:
        if not self.channels_last:
            return flat.reshape(len(flat), *self.shape)
        return flat.reshape(len(flat), *self.shape[1:], self.shape[0]).movedim(-1, 1)

    def _in_order(self, value: Tensor) -> Tensor:
        return value.movedim(1, -1) if self.channels_last else value


def _pack(marks: Tensor) -> Tensor:
    """Return words whose bits are clear where marks ``(samples, count)`` are positive."""
    fast = marks.device.type == "cpu" and native.is_loaded()
    words: Tensor = torch.ops.fedsq_flwr.pack(marks) if fast else pack_bits(marks)
    return words


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
