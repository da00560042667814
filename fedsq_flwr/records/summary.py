"""How a run ended: ``summary.json`` of one that did what was asked, ``failure.json`` of one that did not."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, field_validator

from fedsq_flwr.files import Count, FileModel, Several, finite, read_as
from fedsq_flwr.privacy.ledger import Epsilon, Ledger
from fedsq_flwr.records.history import Line, Measures, best_line, is_accuracy
from fedsq_flwr.settings.run import Selection
from fedsq_flwr.settings.silo import titled

#: Version of the layout of summary.json.
LAYOUT = 1
SUMMARY, FAILURE = "summary.json", "failure.json"
#: The folder of the ledger of a run whose server adds noise.
PRIVACY = "privacy"

Number = TypeVar("Number", int, float)
#: Bytes of all rounds together.
Bytes = Annotated[int, Field(ge=0, lt=2**100)]


#: Both ends of a 95 % interval.
Interval = tuple[float, float] | None


class TestMeasures(Measures):
    """The measures on the server's test set, with 95 % intervals of a bootstrap over its samples, by name.

    None is the interval of what is undefined.
    """

    __test__ = False  # for pytest

    intervals: dict[str, Annotated[Interval, Field(strict=False)]] = Field(default_factory=dict)
    recall_intervals: Several[Annotated[Interval, Field(strict=False)]] = ()


class SiloSummary(FileModel):
    """A silo's samples, and the accuracy of the best round's model on those that the silo holds out."""

    silo: Count
    name: str | None = None
    train: Count | None = None
    held_out: Count | None = None
    accuracy: float | None = None
    unreadable: Count | None = None
    measures: Measures | None = None

    @property
    def title(self) -> str:
        """The silo's number, with its name."""
        return f"{self.silo}{titled(self.name)}"


class AuditTold(FileModel):
    """What a silo told of its audit log at the end of the run: its lines and last hash, or why it told nothing."""

    silo: Count
    lines: Count | None = None
    last: str | None = None
    reason: str | None = None


class Provenance(FileModel):
    """Where the numbers of a run come from; None is what could not be told.

    ``date`` is when the run ended, in the host's time zone. ``clean`` says whether the checkout was as committed.
    ``data`` is the data's own name, that of the folder where the images are a user's own.
    """

    date: str
    command: str | None = None
    commit: str | None = None
    clean: bool | None = None
    processor: str | None = None
    cores: Count | None = None
    data: str | None = None
    data_sha256: str | None = None


class Summary(FileModel):
    """What ``summary.json`` holds; None is what was not measured.

    ``stopped`` is the round after which the run ended early, for want of an improvement. ``measures`` and
    ``held_out_measures`` are the best round's; ``test_measures`` are the best round's and ``final_measures`` the last
    round's on the test set. The accuracies named ``plain_`` are those of the best and of the last round's weights,
    with the network's own ReLUs in place of fixed gates. ``privacy`` is what the server's noise gave all rounds.
    """

    layout: int = Field(alias="schema")
    experiment: str | None = None
    method: str
    backbone: str
    data: str
    partition: str
    alpha: float | None = None
    silos: Count
    seed: Count
    rounds: Count
    learning_rate: float
    batch_norm: str
    select_by: Selection = "accuracy"
    stopped: Count | None = None
    best_accuracy: float | None
    best_loss: float | None = None
    rounds_to_best: Count | None
    accuracy_auc: float | None
    test_accuracy: float | None
    final_accuracy: float | None
    final_validation_accuracy: float | None = None
    silo_accuracy_mean: float | None = None
    silo_accuracy_worst: float | None = None
    silo_accuracy_std: float | None = None
    bytes_up: Bytes | None
    bytes_down: Bytes | None
    train_seconds: float | None
    plain_best_accuracy: float | None = None
    plain_test_accuracy: float | None = None
    plain_final_accuracy: float | None = None
    plain_final_validation_accuracy: float | None = None
    measures: Measures | None = None
    held_out_measures: Measures | None = None
    test_measures: TestMeasures | None = None
    final_measures: TestMeasures | None = None
    per_silo: Several[SiloSummary]
    wall_seconds: float | None
    fingerprint: str | None
    weights: dict[str, Any] | None = None
    weights_sha256: str | None = None
    privacy: Epsilon | None = None
    audits: Several[AuditTold] = ()
    versions: dict[str, str]
    provenance: Provenance | None = None

    @field_validator("layout")
    @classmethod
    def _known(cls, layout: int) -> int:
        if layout != LAYOUT:
            raise ValueError(f"'schema' is {layout}: a later version wrote this; this one reads {LAYOUT}")
        return layout

    @property
    def data_title(self) -> str:
        """The data's own name, where the run told it."""
        return (self.provenance and self.provenance.data) or self.data

    @property
    def score(self) -> float | None:
        """The best round's `history.score`: the higher the better; None if no round has one."""
        if self.select_by == "loss":
            return None if self.best_loss is None else -self.best_loss
        if self.select_by == "accuracy":
            return self.best_accuracy
        value: float | None = getattr(self.measures, self.select_by, None)
        return value

    @property
    def traffic(self) -> int | None:
        """Bytes both ways."""
        return None if self.bytes_up is None or self.bytes_down is None else self.bytes_up + self.bytes_down

    @property
    def evaluated_silos(self) -> tuple[SiloSummary, ...]:
        """The silos that have an accuracy, from worst to best."""
        silos = (silo for silo in self.per_silo if silo.accuracy is not None)
        return tuple(sorted(silos, key=lambda silo: (silo.accuracy or 0.0, silo.silo)))

    @property
    def silos_differ(self) -> bool:
        """Whether there is a worst silo, and not just several equally good ones."""
        return len({silo.accuracy for silo in self.evaluated_silos}) > 1

    @property
    def has_plain_form(self) -> bool:
        """Whether the accuracies with the network's own ReLUs were measured."""
        best = self.plain_best_accuracy, self.plain_test_accuracy
        final = self.plain_final_accuracy, self.plain_final_validation_accuracy
        return None not in (*best, *final)


class Failure(FileModel):
    """What ``failure.json`` holds: the one line that says why a run ended."""

    error: str


def read_summary(directory: Path) -> Summary:
    """Return the summary of the run in a directory.

    Raises
    ------
    DataError
        If there is none, or it is damaged.
    """
    return read_as(Summary, directory / SUMMARY)


def read_failure(directory: Path) -> str | None:
    """Return why the run in a directory ended, in one line; None if there is nothing that says so.

    Raises
    ------
    DataError
        If the file that says it is damaged.
    """
    path = directory / FAILURE
    return (" ".join(read_as(Failure, path).error.split()) or None) if path.exists() else None


def read_spent(directory: Path) -> Epsilon | None:
    """Return what the server's noise gave the rounds of the run in a directory; None if it added none.

    Raises
    ------
    DataError
        If the ledger is damaged.
    """
    return Ledger(directory / PRIVACY).read().spent


def figures(lines: Sequence[Line], select_by: Selection) -> dict[str, Any]:
    """Return the figures of a whole run: best and last round, area under the curve, traffic, seconds.

    ``accuracy_auc`` is the mean validation accuracy over the rounds in which it was measured: the area under the
    accuracy curve, a round being the unit.
    """
    best, last = best_line(lines, select_by), lines[-1]
    measured = [line.accuracy for line in lines if is_accuracy(line.accuracy)]
    found = {
        "select_by": select_by,
        "best_accuracy": best.accuracy,
        "best_loss": best.loss,
        "rounds_to_best": best.round,
        "accuracy_auc": statistics.fmean(measured) if measured else None,
        "test_accuracy": best.test_accuracy,
        "final_accuracy": last.test_accuracy,
        "final_validation_accuracy": last.accuracy,
        "silo_accuracy_mean": best.silo_accuracy_mean,
        "silo_accuracy_worst": best.silo_accuracy_worst,
        "silo_accuracy_std": best.silo_accuracy_std,
        **{name: value for name in ("measures", "held_out_measures") if (value := getattr(best, name)) is not None},
        "bytes_up": total(line.bytes_up for line in lines),
        "bytes_down": total(line.bytes_down for line in lines),
        "train_seconds": total(line.train_seconds for line in lines),
    }
    return {name: finite(value) for name, value in found.items()}


def total(values: Iterable[Number | None]) -> Number | None:
    """Add up what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
