"""What a run's directory says, as typed records."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from fedsq_flwr.report.diagnosis import Diagnosis


@dataclass(frozen=True)
class Drop:
    """A silo that was asked in a round and whose reply was not used, be it in training or evaluating."""

    silo: int
    reason: str
    evaluating: bool


@dataclass(frozen=True)
class Round:
    """A line of ``history.jsonl``; None is what the round did not measure.

    ``loss`` and ``accuracy`` are the validation split's; ``silo_accuracies`` are those of the averaged
    model on each silo's own held-out samples.
    """

    round: int
    train_loss: float | None
    loss: float | None
    accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    seconds: float | None
    train_seconds: float | None
    sampled: int | None
    replies: int
    dropped: tuple[Drop, ...]
    silo_accuracies: dict[int, float]
    silo_mean: float | None
    silo_worst: float | None
    silo_std: float | None
    bytes_up: int | None
    bytes_down: int | None
    diagnosis: Diagnosis | None


@dataclass(frozen=True)
class SiloResult:
    """One silo's samples and the best round's accuracy on those it held out."""

    silo: int
    train: int | None
    held_out: int | None
    accuracy: float | None


@dataclass(frozen=True)
class PlainForm:
    """Accuracies of a fixed-gates model's weights with their own ReLUs: of the best and of the last round."""

    best_validation: float
    best_test: float
    final_validation: float
    final_test: float


@dataclass(frozen=True)
class Summary:
    """The outcome of a run: from ``summary.json``, or from the history of a run that has none.

    ``plain`` are the accuracies with the network's own ReLUs in place of fixed gates.
    """

    best_round: int | None
    best_accuracy: float | None
    accuracy_auc: float | None
    test_accuracy: float | None
    final_accuracy: float | None
    plain: PlainForm | None
    per_silo: tuple[SiloResult, ...]
    silo_mean: float | None
    silo_worst: float | None
    silo_std: float | None
    bytes_up: int | None
    bytes_down: int | None
    wall_seconds: float | None
    train_seconds: float | None
    fingerprint: str | None
    weights_sha256: str | None
    versions: dict[str, str]

    @property
    def traffic(self) -> int | None:
        """Bytes both ways."""
        if self.bytes_up is None or self.bytes_down is None:
            return None
        return self.bytes_up + self.bytes_down

    @property
    def judged(self) -> tuple[SiloResult, ...]:
        """The silos that have an accuracy, from worst to best."""
        silos = (silo for silo in self.per_silo if is_finite(silo.accuracy))
        return tuple(sorted(silos, key=lambda silo: (silo.accuracy or 0.0, silo.silo)))

    @property
    def silos_differ(self) -> bool:
        """Whether there is a worst silo at all, and not just several equally good ones."""
        return len({silo.accuracy for silo in self.judged}) > 1


@dataclass(frozen=True)
class Partition:
    """How many samples of each class each silo has, from ``partition.json``.

    ``file`` is the partition of another run that this one reused; the name, the parameter and the seed are
    those that it was drawn by.
    """

    name: str
    alpha: float | None
    classes_per_silo: int | None
    shards_per_silo: int | None
    seed: int
    file: str | None
    class_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    held_out: tuple[int, ...]
    validation: int | None
    test: int | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The samples of each silo, those it holds out among them."""
        return tuple(sum(row) for row in self.counts)


@dataclass(frozen=True)
class Settings:
    """The settings that the report names, and all of them as they stand in ``config.yaml``."""

    experiment: str
    method: str
    gates: str
    data: str
    backbone: str
    partition: str
    alpha: float | None
    classes_per_silo: int | None
    shards_per_silo: int | None
    silos: int
    rounds: int
    seed: int
    learning_rate: float | None
    batch_norm: str
    text: str
    silos_validate: bool = False  # the server has no data: the silos' held-out samples are the validation set
    one_model: bool = True  # else each silo has its own, and the server's figures are means over these


@dataclass(frozen=True)
class Run:
    """All that the report is made of.

    ``finished`` is false where ``summary`` had to be made from the history, ``failure`` then says why
    the run ended if it could say so itself; ``notes`` are sentences on what the files lack.
    """

    directory: Path
    settings: Settings
    rounds: tuple[Round, ...]
    summary: Summary
    partition: Partition | None
    finished: bool
    failure: str | None
    notes: tuple[str, ...]


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether the value was measured and is a number that can be drawn and compared."""
    return value is not None and math.isfinite(value)
