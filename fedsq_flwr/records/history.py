"""``history.jsonl``: one JSON line a round, appended when the round is over, never rewritten."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeGuard, TypeVar

from pydantic import Field, field_validator

from fedsq_flwr.errors import DataError
from fedsq_flwr.files import MOST, Count, FileModel, Measured, Several, parse_as, plain, read_bytes
from fedsq_flwr.settings.run import RunSettings, Selection

HISTORY = "history.jsonl"
#: The most bytes of a history. A line has at most some ten thousand.
LARGEST = 2**30
#: What to do about a file of a run that is missing or damaged, and that a run cannot go on without.
WAY_OUT = "put a copy of the file back, or choose another output"

Number = TypeVar("Number")
#: A value for each silo, by its number.
BySilo = dict[Annotated[int, Field(ge=0, lt=MOST)], Number]


class Drop(FileModel):
    """A silo whose reply was not used, be it in training or while evaluating."""

    silo: Count
    reason: str
    during: str = Field("training", alias="while")

    @property
    def evaluating(self) -> bool:
        """Whether the silo was to evaluate."""
        return self.during == "evaluating"


class LayerGates(FileModel):
    """Flips and open gates of one call of a network; None where a rate has no meaning."""

    layer: str
    kind: str
    gates: Count | None = None
    flip_rate: Measured
    density: Measured
    own_density: Measured

    @property
    def pools(self) -> bool:
        """Whether the gates are winners of max-pooling."""
        return self.kind == "max_pool"


class Averaging(FileModel):
    """The distance between the averaged model's logits and the mean of the silos' logits."""

    states: Count | None = None
    gap: Measured
    spread: Measured
    relative: Measured


class Drift(FileModel):
    """How far in weights the silos went from the model that they were sent, and their mean."""

    mean: Measured
    of_mean: Measured
    start: Measured = None


class Diagnostics(FileModel):
    """What the diagnostics found in a round."""

    images: Count
    flip_rate: Measured
    layers: Several[LayerGates]
    averaging: Averaging
    drift: Drift


class Measures(FileModel):
    """The measures of a model on a set of samples, see `fedsq_flwr.learning.measures.Measures`.

    ``auroc`` of silos is the mean of those of ``auroc_sets`` silos, weighted by samples.
    """

    balanced_accuracy: Measured
    macro_f1: Measured
    auroc: Measured
    auroc_sets: Count | None = None
    expected_calibration_error: Measured
    recalls: Several[Measured]
    confusion: Several[Several[Count]] | None = None


class Line(FileModel):
    """A round; None is what the round did not measure.

    ``loss`` and ``accuracy`` are the validation set's, or, where the server has none, those of all samples that the
    silos hold out. So are ``measures``. ``held_out_measures`` are always the silos', together, and ``silo_measures``
    those of each. The fields by silo are keyed by the silos' numbers. ``silo_names`` are told once, in the
    first round after a silo connected.
    """

    round: Annotated[int, Field(ge=1, lt=2**31)]
    train_loss: Measured
    loss: Measured
    accuracy: Measured
    test_loss: Measured = None
    test_accuracy: Measured
    seconds: Measured
    train_seconds: Measured = None
    exchange_seconds: dict[str, Measured] = Field(default_factory=dict)
    sampled: Count | None = None
    replies: Count
    dropped: Several[Drop] = ()
    waited: BySilo[Measured] = Field(default_factory=dict)
    silo_names: BySilo[str] = Field(default_factory=dict)
    silo_samples: BySilo[Count] = Field(default_factory=dict)
    silo_held_out: BySilo[Count] = Field(default_factory=dict)
    silo_unreadable: BySilo[Count] = Field(default_factory=dict)
    silo_accuracies: BySilo[Measured] = Field(default_factory=dict)
    silo_accuracy_mean: Measured = None
    silo_accuracy_worst: Measured = None
    silo_accuracy_std: Measured = None
    measures: Measures | None = None
    test_measures: Measures | None = None
    held_out_measures: Measures | None = None
    silo_measures: BySilo[Measures] = Field(default_factory=dict)
    bytes_up: Count | None = None
    bytes_down: Count | None = None
    fingerprint: str = ""
    diagnostics: Diagnostics | None = None

    @field_validator("silo_accuracies")
    @classmethod
    def _in_order(cls, accuracies: BySilo[Measured]) -> BySilo[Measured]:
        return dict(sorted(accuracies.items()))

    @property
    def accuracies(self) -> dict[int, float]:
        """The accuracies of the silos that were evaluated, by their numbers, in order."""
        return {silo: value for silo, value in self.silo_accuracies.items() if is_accuracy(value)}


class History:
    """The file ``history.jsonl`` of a run.

    Parameters
    ----------
    path : Path
        Where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Line]:
        """Return the finished rounds in order; none if there is no file.

        A last line without its newline is what a run that died in mid-write leaves; it is not returned. A round that
        is there twice counts as it was last.

        Raises
        ------
        DataError
            If a finished line is damaged; names the file and the line.
        """
        rounds = {}
        for number, text in enumerate(self._lines(), start=1):
            if text.strip():
                line = parse_line(text, f"{self.path}, line {number}")
                rounds[line.round] = line
        return [rounds[number] for number in sorted(rounds)]

    def finished(self) -> int:
        """Return how many lines are finished, without looking into them."""
        return self._content().count(b"\n")

    def is_cut_short(self) -> bool:
        """Tell whether the last line is half a line."""
        return bool(self._content().rpartition(b"\n")[2].strip())

    def append(self, line: Line) -> None:
        """Add a round; it is on the disk when this returns.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line_text(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def digest(self) -> str:
        """Return the digest of the finished lines."""
        return _digest_of(self._lines())

    def repair(self, last: Line, before: str | None = None) -> None:
        """Make the file end with the round ``last``, the one of the checkpoint that a run resumes from.

        A half-written last line is cut off, and a round whose checkpoint was written when the run died before its
        line was is added.

        Parameters
        ----------
        last : Line
            The checkpoint's round.
        before : str, optional
            What `digest` was before that round.

        Raises
        ------
        DataError
            If the file is not the one that the checkpoint was written with: a round before ``last`` is missing or
            another, or there are rounds after it.
        """
        lines = self.read()
        newest = lines[-1].round if lines else 0
        if newest not in (last.round, last.round - 1):
            raise DataError(
                f"{self.path} holds round {newest}, but the checkpoint to resume from is of round {last.round}; "
                f"{WAY_OUT}"
            )
        missing = set(range(1, newest)) - {line.round for line in lines}
        if missing:
            raise DataError(f"{self.path} lacks round {min(missing)}; {WAY_OUT}")
        known = self._lines()[: -1 if newest == last.round else None]
        is_same = newest < last.round or line_text(lines[-1]) == line_text(last)
        if not is_same or before not in (None, _digest_of(known)):
            raise DataError(f"{self.path} was changed after round {last.round} was kept; {WAY_OUT}")
        if self.is_cut_short():
            with self.path.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
        if newest < last.round:
            self.append(last)

    def _lines(self) -> list[bytes]:
        """Return the finished lines, each without its newline."""
        return self._content().split(b"\n")[:-1]

    def _content(self) -> bytes:
        return read_bytes(self.path, at_most=LARGEST) if os.path.lexists(self.path) else b""


def parse_line(text: bytes | str, where: str) -> Line:
    """Return the text of a line as a round.

    Raises
    ------
    DataError
        One line that begins with ``where``.
    """
    return parse_as(Line, text, where)


def line_text(line: Line) -> str:
    """Return a round as the text of its line. Values that are not finite become null."""
    return json.dumps(plain(line), allow_nan=False)


def json_line(model: FileModel) -> bytes:
    """Return a model as a finished line of JSON. Values that are not finite become null."""
    return (json.dumps(plain(model), allow_nan=False) + "\n").encode()


def score(line: Line, select_by: Selection) -> float | None:
    """Return what rounds are compared by, the higher the better: a measure on validation, or the negative loss.

    None where the round has not measured it, or it is undefined.
    """
    if select_by == "loss":
        return -line.loss if is_finite(line.loss) else None
    value = line.accuracy if select_by == "accuracy" else getattr(line.measures, select_by, None)
    return value if is_accuracy(value) else None


def best_line(lines: Sequence[Line], select_by: Selection) -> Line:
    """Return the line of the best round by `score`; on a tie the earliest, which is the cheapest.

    Where no round has a score, it is the last.
    """
    scored = [(value, line) for line in lines if (value := score(line, select_by)) is not None]
    return max(scored, key=lambda pair: (pair[0], -pair[1].round))[1] if scored else lines[-1]


def stops_early(lines: Sequence[Line], settings: RunSettings) -> bool:
    """Tell whether a run ends after the last of ``lines``, before its last round, for want of an improvement.

    It ends after a round in which silos evaluate only, as they do after the last round of every run.
    """
    if not (lines and settings.stop_after):
        return False
    last = lines[-1].round
    if last >= settings.rounds or last % settings.evaluate_every:
        return False
    best, improved = -math.inf, 0
    for line in lines:
        value = score(line, settings.select_by)
        # Rounded, since 0.9 - 0.8 is a little less than 0.1.
        if value is not None and value > best and round(value - best, 9) >= settings.stop_min_delta:
            best, improved = value, line.round
    return last - improved >= settings.stop_after


def names_of(lines: Sequence[Line]) -> dict[int, str]:
    """Return the names of the silos that have one, by their numbers."""
    return {silo: name for line in lines for silo, name in line.silo_names.items()}


def check_kept(lines: Sequence[Line], kept: Line, where: Path, *, best: Selection | None) -> None:
    """Check that a checkpoint is of a round of the history, or of the round that was to be added next.

    Parameters
    ----------
    lines : sequence of Line
        The history.
    kept : Line
        The checkpoint's.
    where : Path
        The checkpoint's file.
    best : str, optional
        It is to be the best round's by this measure.

    Raises
    ------
    DataError
        If it is another round's, or another run's.
    """
    known = {line.round: line for line in lines}
    is_next = kept.round == len(known) + 1
    if not is_next and (kept.round not in known or line_text(known[kept.round]) != line_text(kept)):
        raise DataError(f"{where} is of a round {kept.round} that the history does not hold; {WAY_OUT}")
    wanted = best_line([*lines, kept] if is_next else lines, best).round if best else kept.round
    if wanted != kept.round:
        raise DataError(f"{where} is of round {kept.round}, but the best is round {wanted}; {WAY_OUT}")


def is_accuracy(value: float | None) -> TypeGuard[float]:
    """Tell whether a value is the accuracy of something that was measured; a silo may say anything."""
    return value is not None and 0 <= value <= 1


def is_finite(value: float | None) -> TypeGuard[float]:
    """Tell whether a value was measured and has not run away."""
    return value is not None and math.isfinite(value)


def _digest_of(lines: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\n".join(lines)).hexdigest()
