"""Gates as values: one bit a ReLU, packed, to be kept, compared and replayed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedsq_flwr.gating.record import Gate, PoolGate, ReluGate


@dataclass(frozen=True)
class PackedRelu:
    """The masks of one ReLU call.

    Attributes
    ----------
    bits : Tensor
        uint8, shape ``(samples, ceil(activations / 8))``, on the CPU; the first activation is the highest bit.
    shape : tuple of int
        Shape of a sample's activation, without the batch dimension.
    """

    bits: Tensor
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.bits.numel()

    def mask(self) -> Tensor:
        """Unpack to a bool tensor of shape ``(samples, *shape)``."""
        count = math.prod(self.shape)
        flat = np.unpackbits(self.bits.numpy(), axis=1, count=count)
        return torch.from_numpy(flat).view(torch.bool).reshape(len(self.bits), *self.shape)


@dataclass(frozen=True)
class PackedPool:
    """The winners of one max-pooling call: flat indices into ``plane`` in the smallest type that holds them."""

    winners: Tensor
    plane: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.winners.numel() * self.winners.element_size()


@dataclass(frozen=True)
class Gates:
    """All gates of a network for a batch of samples, packed, in forward order.

    Made by `DualCopy.gates` and taken by `DualCopy.forward`. They depend on the sample and the
    structural copy only, so they can be kept from round to round.
    """

    entries: tuple[PackedRelu | PackedPool, ...]

    @classmethod
    def pack(cls, gates: Sequence[Gate]) -> "Gates":
        """Pack recorded gates; needs a batch dimension in front of every gated activation."""
        return cls(tuple(_pack_relu(g) if isinstance(g, ReluGate) else _pack_pool(g) for g in gates))

    def masks(self) -> list[Tensor]:
        """Masks of the ReLUs in forward order: bool, shape of the activation; True lets the value pass."""
        return [entry.mask() for entry in self.entries if isinstance(entry, PackedRelu)]

    def winners(self) -> list[Tensor]:
        """Winners of the max-poolings in forward order: int64 flat indices into the pooled planes."""
        return [entry.winners.to(torch.int64) for entry in self.entries if isinstance(entry, PackedPool)]

    @property
    def nbytes(self) -> int:
        """Bytes held by all entries."""
        return sum(entry.nbytes for entry in self.entries)

    def unpack(self, device: torch.device) -> list[Gate]:
        """Return the gates in the form that the quantitative pass replays, on ``device``."""
        return [_unpack(entry, device) for entry in self.entries]


def _pack_relu(gate: ReluGate) -> PackedRelu:
    mask = (gate.source > 0).flatten(1).cpu().numpy()
    return PackedRelu(torch.from_numpy(np.packbits(mask, axis=1)), tuple(gate.source.shape[1:]))


def _pack_pool(gate: PoolGate) -> PackedPool:
    largest = math.prod(gate.plane) - 1
    fitting = next(t for t in (torch.uint8, torch.int16, torch.int32) if largest <= torch.iinfo(t).max)
    return PackedPool(gate.winners.to("cpu", fitting), gate.plane)


def _unpack(entry: PackedRelu | PackedPool, device: torch.device) -> Gate:
    if isinstance(entry, PackedPool):
        return PoolGate(entry.winners.to(device, torch.int64), entry.plane)
    # float32 and not bool: threshold_backward is 2.5 times as fast with a source of the value's own type.
    source = entry.mask().to(device, torch.float32)
    return ReluGate(source, None)
