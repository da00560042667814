"""The packed gates of a batch: one bit for each ReLU output, a few bits for each max-pooling winner."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsq_flwr.gating.packed.calls import PackedPool, PackedRelu
from fedsq_flwr.gating.packed.layout import PoolLayout, ReluLayout

Layout = tuple[ReluLayout | PoolLayout, ...]


@dataclass(frozen=True)
class Gates:
    """All gates of a network for a batch of samples, packed, in forward order.

    `DualCopy.gates` makes them, `DualCopy.forward` takes them. Gates depend on the sample and the structural
    copy only, so `GateCache` can store them sample by sample and use them in every round.

    Attributes
    ----------
    layout : tuple
        The parts of a row: a `ReluLayout` or `PoolLayout` for each gated call, in forward order.
    rows : Tensor
        uint8 ``(samples, bytes)``: all gates of a sample in one row.
    """

    layout: Layout
    rows: Tensor

    @classmethod
    def join(cls, recorded: Sequence[PackedRelu | PackedPool], samples: int) -> "Gates":
        """Concatenate the gates of all calls of a pass over ``samples`` samples, row by row."""
        none = torch.empty((samples, 0), dtype=torch.uint8)  # a network may have no gates at all
        rows = torch.cat([gate.packed for gate in recorded], 1) if recorded else none
        return cls(tuple(gate.layout for gate in recorded), rows)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.rows)

    def __getitem__(self, samples: Tensor | slice) -> "Gates":
        """Return the gates of the samples at these positions (int64 or slice)."""
        return Gates(self.layout, self.rows[samples])

    @property
    def nbytes(self) -> int:
        """Size of the rows in bytes."""
        return self.rows.numel()

    def masks(self) -> list[Tensor]:
        """Return the masks of the ReLUs in forward order: bool, shape of the activation, True where open."""
        return [call.mask() for call in self.calls() if isinstance(call, PackedRelu)]

    def winners(self) -> list[Tensor]:
        """Return the winners of the max-poolings in forward order: int64 flat indices into the pooled planes."""
        return [call.winners for call in self.calls() if isinstance(call, PackedPool)]

    def to(self, device: torch.device) -> "Gates":
        """Return the gates on ``device``."""
        return Gates(self.layout, self.rows.to(device))

    def calls(self) -> list[PackedRelu | PackedPool]:
        """Return the gates call by call, in forward order, as views of the rows."""
        parts = torch.split(self.rows, [part.nbytes for part in self.layout], 1)
        return [
            PackedRelu(part, packed) if isinstance(part, ReluLayout) else PackedPool(part, packed)
            for part, packed in zip(self.layout, parts, strict=True)
        ]
