"""The diagnostics of a round, on the server: gate flips, averaging gap and drift on a fixed set of images.

Diagnostics change no number of the run. They read the replies one at a time, and need the memory of a model or two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flwr.app import ArrayRecord, RecordDict
from torch import Tensor

from fedsq_flwr.federation.arrays import to_state
from fedsq_flwr.federation.contents import array_records, metric_records
from fedsq_flwr.federation.protocol import WEIGHT
from fedsq_flwr.gating import (
    AveragingGap,
    DualCopy,
    Gates,
    LayerGates,
    QuantitativeCopy,
    WeightDrift,
    averaging_gap,
    fixed_gates,
    flip_rate,
    gate_flips,
    weight_drift,
)


@dataclass(frozen=True)
class Diagnostics:
    """What an examiner found in a round.

    Attributes
    ----------
    images : int
        Size of the probe set.
    flip_rate : float
        Share of all ReLU signs of the average that differ from the fixed gates.
    layers : tuple of LayerGates
        Flips and densities, call by call in forward order.
    averaging : AveragingGap
        Of the replies that were averaged, weighted by their numbers of samples.
    drift : WeightDrift
        Of the same replies from the model they were sent, over weights and biases.
    """

    images: int
    flip_rate: float
    layers: tuple[LayerGates, ...]
    averaging: AveragingGap
    drift: WeightDrift


class Examiner:
    """Diagnoses rounds on a fixed set of images.

    Parameters
    ----------
    model : QuantitativeCopy
        As every round starts from at first. Without fixed gates of its own, its gates now are the ones
        that later rounds are compared with: make the examiner before a resumed state is loaded, and see `refer`.
    images : Tensor
        ``(N, C, H, W)``, 8 or more, from the server's validation set; taken as one batch, in float32.
    """

    def __init__(self, model: QuantitativeCopy, images: Tensor) -> None:
        self._model = model
        self._images = images
        self._start: Gates | None = None
        self.refer()

    def refer(self) -> None:
        """Compare later rounds with the model as it is now; needed where the start has changed."""
        self._start = None if isinstance(self._model, DualCopy) else fixed_gates(self._model, self._images)

    def examine(self, start: ArrayRecord, averaged: ArrayRecord, replies: Sequence[RecordDict]) -> Diagnostics:
        """Diagnose a round.

        Parameters
        ----------
        start : ArrayRecord
            The model that was sent to the silos.
        averaged : ArrayRecord
            The average; it stays loaded in the model.
        replies : sequence of RecordDict
            What the silos sent whose replies were averaged.
        """
        self._model.load_quantitative_state(to_state(averaged))
        # A dual copy is asked afresh: its structure may be another one than in the first round.
        fixed = fixed_gates(self._model, self._images) if self._start is None else self._start
        layers = gate_flips(self._model, self._images, fixed)
        weights = {name for name, _ in self._model.quantitative.named_parameters()}
        sent = {name: tensor for name, tensor in to_state(start).items() if name in weights}
        return Diagnostics(
            images=len(self._images),
            flip_rate=flip_rate(layers),
            layers=layers,
            averaging=averaging_gap(self._model, _states(replies), self._images),
            drift=weight_drift(sent, _states(replies)),
        )


def _states(replies: Sequence[RecordDict]) -> Iterator[tuple[float, dict[str, Tensor]]]:
    for reply in replies:
        (arrays,), (metrics,) = array_records(reply).values(), metric_records(reply).values()
        yield float(metrics[WEIGHT]), to_state(arrays)  # type: ignore[arg-type]
