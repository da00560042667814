"""Gates as values: one bit a ReLU, a few bits a max-pooling winner, packed, to be kept and replayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from fedsq_flwr.gating.packed.calls import PackedPool, PackedRelu
from fedsq_flwr.gating.packed.layout import PoolLayout, ReluLayout

Layout = tuple[ReluLayout | PoolLayout, ...]


@dataclass(frozen=True)
class Gates:
    """All gates of a network for a batch of samples, packed, in forward order.

    Made by `DualCopy.gates` and taken by `DualCopy.forward`. They depend on the sample and the
    structural copy only, so they can be kept from round to round, sample by sample (`GateCache`).

    Attributes
    ----------
    layout : tuple
        What each part of a row is: a `ReluLayout` or `PoolLayout` for each gated call, in forward order.
    rows : Tensor
        uint8 ``(samples, bytes)``: all gates of a sample in one row.
    """

    layout: Layout
    rows: Tensor

    @classmethod
    def join(cls, recorded: Sequence[PackedRelu | PackedPool], samples: int) -> "Gates":
        """Put the gates of all calls of a pass over ``samples`` samples side by side."""
        none = torch.empty((samples, 0), dtype=torch.uint8)  # a network may have no gates at all
        rows = torch.cat([gate.packed for gate in recorded], 1) if recorded else none
        return cls(tuple(gate.layout for gate in recorded), rows)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.rows)

    def __getitem__(self, samples: Tensor | slice) -> "Gates":
        """Return the gates of the samples at these places (int64 or slice)."""
        return Gates(self.layout, self.rows[samples])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.rows.numel()

    def masks(self) -> list[Tensor]:
        """Masks of the ReLUs in forward order: bool, shape of the activation; True lets the value pass."""
        return [call.mask() for call in self.calls() if isinstance(call, PackedRelu)]

    def winners(self) -> list[Tensor]:
        """Winners of the max-poolings in forward order: int64 flat indices into the pooled planes."""
        return [call.winners for call in self.calls() if isinstance(call, PackedPool)]

    def to(self, device: torch.device) -> "Gates":
        """Return the gates on ``device``."""
        return Gates(self.layout, self.rows.to(device))

    def calls(self) -> list[PackedRelu | PackedPool]:
        """Return the gates call by call, in forward order, as views of the rows."""
        ends = accumulate(part.nbytes for part in self.layout)
        parts = [(part, self.rows[:, end - part.nbytes : end]) for part, end in zip(self.layout, ends, strict=True)]
        return [PackedRelu(p, row) if isinstance(p, ReluLayout) else PackedPool(p, row) for p, row in parts]
