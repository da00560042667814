"""The packed gates of a batch: one or two bits for each element of an activation, a few bits for each winner."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsq_flwr.gating.packed.calls import PackedActivation, PackedPool
from fedsq_flwr.gating.packed.layout import ActivationLayout, PoolLayout

Layout = tuple[ActivationLayout | PoolLayout, ...]


@dataclass(frozen=True)
class Gates:
    """All gates of a network for a batch of samples, packed, in forward order.

    `DualCopy.gates` makes them, `DualCopy.forward` takes them. Gates depend on the sample and the structural
    copy only, so `GateCache` can store them sample by sample and use them in every round.

    Attributes
    ----------
    layout : tuple
        The parts of a row: a `ActivationLayout` or `PoolLayout` for each gated call, in forward order.
    rows : Tensor
        uint8 ``(samples, bytes)``: all gates of a sample in one row.
    """

    layout: Layout
    rows: Tensor

    @classmethod
    def join(cls, recorded: Sequence[PackedActivation | PackedPool], samples: int) -> "Gates":
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
        """Return the masks of the activations in forward order: bool, True where the gate is open.

        A gate is open in regime 0: where a ReLU passes its input, a ReLU6 is not cut off, a LeakyReLU has slope 1.
        """
        return [call.mask() for call in self.calls() if isinstance(call, PackedActivation)]

    def regimes(self) -> list[Tensor]:
        """Return the regimes of the activations in forward order: uint8, shape of the activation."""
        calls = (call for call in self.calls() if isinstance(call, PackedActivation))
        return [call.layout.unpack_regimes(call.packed) for call in calls]

    def winners(self) -> list[Tensor]:
        """Return the winners of the max-poolings in forward order: int64 flat indices into the pooled planes."""
        return [call.winners for call in self.calls() if isinstance(call, PackedPool)]

    def to(self, device: torch.device) -> "Gates":
        """Return the gates on ``device``."""
        # From page-locked memory a GPU copies while the CPU goes on. To the CPU, one waits for the rows.
        return Gates(self.layout, self.rows.to(device, non_blocking=device.type == "cuda"))

    def calls(self) -> list[PackedActivation | PackedPool]:
        """Return the gates call by call, in forward order, as views of the rows."""
        parts = torch.split(self.rows, [part.nbytes for part in self.layout], 1)
        return [
            PackedActivation(part, packed) if isinstance(part, ActivationLayout) else PackedPool(part, packed)
            for part, packed in zip(self.layout, parts, strict=True)
        ]
