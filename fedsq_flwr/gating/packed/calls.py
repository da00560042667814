"""The gates of one call of an activation or a max-pooling: dense, as a pass leaves them, or packed, to be stored."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fedsq_flwr.gating.packed.kernels import gate_by_bits, gate_by_source, gather_winners
from fedsq_flwr.gating.packed.layout import ActivationLayout, PoolLayout
from fedsq_flwr.gating.packed.regimes import RELU, Regimes


@dataclass(frozen=True)
class ActivationGate:
    """An activation's gate: the sign of ``source`` says the regime of each element, see `packed.regimes`.

    Attributes
    ----------
    source : Tensor
        Marks in the shape of the activation, of any signed or boolean dtype. For a ReLU they are usually the output
        of the structural copy, so that no memory is copied. Nothing may write to it afterwards (see ``version``).
    version : int or None
        Version counter of ``source`` when it was recorded; None where nothing else holds the tensor.
    layer : str or None
        The layer that made the activation, as far as it is known.
    regimes : Regimes
        Slopes and offsets.
    """

    source: Tensor
    version: int | None
    layer: str | None = None
    regimes: Regimes = RELU

    @property
    def shape(self) -> torch.Size:
        """Shape of the activation."""
        return self.source.shape

    def is_intact(self) -> bool:
        """Return whether nothing has written to ``source`` since it was recorded."""
        return self.version is None or self.source._version == self.version

    def apply(self, value: Tensor, *, in_place: bool, slope: Tensor | None = None) -> Tensor:
        """Gate ``value``; ``slope`` is the one that learns, if the regimes have one."""
        return gate_by_source(value, self.source, self.regimes, in_place=in_place, slope=slope)


@dataclass(frozen=True)
class PackedActivation:
    """An activation's gate in bits: uint8 ``(samples, layout.nbytes)``; rows need not be adjacent in memory."""

    layout: ActivationLayout
    packed: Tensor

    @property
    def layer(self) -> str | None:
        """The layer that made the activation, as far as it is known."""
        return self.layout.layer

    @property
    def regimes(self) -> Regimes:
        """Slopes and offsets."""
        return self.layout.regimes

    @property
    def shape(self) -> torch.Size:
        """Shape of the activation."""
        return torch.Size((self.packed.shape[0], *self.layout.shape))

    def mask(self) -> Tensor:
        """Return the mask: bool, of shape `shape`, True where the gate is open."""
        return self.layout.unpack(self.packed)

    def apply(self, value: Tensor, *, in_place: bool, slope: Tensor | None = None) -> Tensor:
        """Gate ``value``; ``slope`` is the one that learns, if the regimes have one."""
        return gate_by_bits(value, self.packed.view(torch.int32), self.layout, in_place=in_place, slope=slope)


@dataclass(frozen=True)
class PoolGate:
    """A max-pooling's winners: flat indices (int64) into ``plane``, the spatial dimensions of its input."""

    winners: Tensor
    plane: tuple[int, ...]
    layer: str | None = None

    @property
    def shape(self) -> torch.Size:
        """Shape of the pooling's input."""
        return torch.Size((*self.winners.shape[: -len(self.plane)], *self.plane))

    def apply(self, value: Tensor) -> Tensor:
        """Pool ``value``."""
        return gather_winners(value, self.winners, len(self.plane))


@dataclass(frozen=True)
class PackedPool:
    """A max-pooling's winners in small codes: uint8 ``(samples, layout.nbytes)``; rows need not be adjacent."""

    layout: PoolLayout
    packed: Tensor

    @property
    def layer(self) -> str | None:
        """The layer that made the pooling's input, as far as it is known."""
        return self.layout.layer

    @property
    def shape(self) -> torch.Size:
        """Shape of the pooling's input."""
        channels = self.layout.shape[: -len(self.layout.plane)]
        return torch.Size((self.packed.shape[0], *channels, *self.layout.plane))

    @cached_property
    def winners(self) -> Tensor:
        """The winners, int64, as in `PoolGate`."""
        return self.layout.unpack(self.packed)

    def apply(self, value: Tensor) -> Tensor:
        """Pool ``value``."""
        return gather_winners(value, self.winners, len(self.layout.plane))


Gate = ActivationGate | PackedActivation | PoolGate | PackedPool
