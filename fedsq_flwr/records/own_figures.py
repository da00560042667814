"""What a real silo keeps of its own part in a run, in ``STATE_DIR/reports/RUN``. None of it leaves the silo.

``about.json`` says what the run is, ``rounds.jsonl`` has the silo's own figures: several lines of a round add up, and
of two that say the same the later one counts.
"""

import os
import shutil
from pathlib import Path
from typing import Annotated

from pydantic import Field

from fedsq_flwr.errors import DataError
from fedsq_flwr.files import Count, FileModel, Measured, Several, parse_as, read_as, read_bytes, write_as_json
from fedsq_flwr.records.deliveries import Digits
from fedsq_flwr.records.history import json_line
from fedsq_flwr.records.summary import Interval, TestMeasures

ABOUT, ROUNDS, PREDICTIONS = "about.json", "rounds.jsonl", "predictions.csv"
_Interval = Annotated[Interval, Field(strict=False)]


class About(FileModel):
    """The run, and the silo as it is in the run.

    ``silos_validate``: the server has no images, so that the silos' held-out images choose the best round.
    """

    run: Digits
    silo: Count
    silos: Count
    name: str | None = None
    method: str
    backbone: str
    rounds: Count
    class_names: Several[str]
    train: Count
    held_out: Count
    silos_validate: bool = False


class OwnFigures(FileModel):
    """A model on the silo's held-out samples, with 95 % intervals of a bootstrap over these."""

    loss: Measured
    loss_interval: _Interval = None
    accuracy: float
    measures: TestMeasures | None = None

    @property
    def accuracy_interval(self) -> Interval:
        """The interval of the accuracy."""
        return self.measures.intervals.get("accuracy") if self.measures else None


class OwnRound(FileModel):
    """What the silo knows of a round; None is what was not measured.

    ``federated`` is the averaged model, ``local`` the one of the silo alone after ``local_rounds`` rounds from round
    ``local_first`` on. ``gain`` is the accuracy of the former less that of the latter, on the same samples.
    """

    round: Annotated[int, Field(ge=0, lt=2**31)]
    train_loss: Measured = None
    train_seconds: Measured = None
    federated: OwnFigures | None = None
    local: OwnFigures | None = None
    local_first: Count | None = None
    local_rounds: Count | None = None
    gain: Measured = None
    gain_interval: _Interval = None


class OwnRun:
    """The folder of a run at a silo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, about: About, most: int) -> None:
        """Write what the run is, if it is not there. Then only the ``most`` runs that were written last are kept.

        Raises
        ------
        OSError
            If it cannot be written, or an old run cannot be removed.
        """
        if (self.folder / ABOUT).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_as_json(self.folder / ABOUT, about)
        others = [run for run in _runs(self.folder.parent) if run != self.folder]
        for old in sorted(others, key=_last_written)[: max(0, len(others) + 1 - most)]:
            shutil.rmtree(old)

    def about(self) -> About:
        """Return what the run is.

        Raises
        ------
        DataError
            If the file is missing or damaged.
        """
        return read_as(About, self.folder / ABOUT)

    def add(self, told: OwnRound) -> None:
        """Add a line; half a line, which a process that was killed has left, is cut off.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with (self.folder / ROUNDS).open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json_line(told))
            file.flush()
            os.fsync(file.fileno())

    def rounds(self) -> list[OwnRound]:
        """Return the rounds in order, each with all that is known of it.

        Raises
        ------
        DataError
            If a line is damaged; it names the line.
        """
        path, found = self.folder / ROUNDS, dict[int, OwnRound]()
        lines = read_bytes(path).split(b"\n")[:-1] if path.exists() else []
        for number, text in enumerate(lines, start=1):
            line = parse_as(OwnRound, text, f"{path}, line {number}")
            before = found.get(line.round, line)
            found[line.round] = before.model_copy(
                update={name: getattr(line, name) for name in line.model_fields_set}
            )
        return [found[number] for number in sorted(found)]


def newest_run(reports: Path) -> OwnRun:
    """Return the run that a silo was last at work in.

    Raises
    ------
    DataError
        If there is none.
    """
    runs = _runs(reports)
    if not runs:
        raise DataError(f"{reports}: has no run's figures; a silo writes them while it takes part")
    return OwnRun(max(runs, key=_last_written))


def _runs(reports: Path) -> list[Path]:
    return [path.parent for path in reports.glob(f"*/{ABOUT}")]


def _last_written(run: Path) -> int:
    return max(path.stat().st_mtime_ns for path in run.iterdir())
