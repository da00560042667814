"""How a run stands, seen from its files and locks and without torch: also while another process is at work on it."""

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from fedsq_flwr.errors import DataError, FedSQError
from fedsq_flwr.files import MOST, finite, opened, read_as
from fedsq_flwr.records.config import CONFIG, read_config
from fedsq_flwr.records.history import HISTORY, History, Line, best_line, is_finite, score
from fedsq_flwr.records.lock import Holder, holder_of
from fedsq_flwr.records.progress import PROGRESS, Progress
from fedsq_flwr.records.summary import FAILURE, SUMMARY, Summary, read_failure, read_summary, total
from fedsq_flwr.settings.run import RunSettings

Part = TypeVar("Part")

LOG = "run.log"
#: Any of them makes a directory a run's. The last one is Hydra's, there before the run has begun.
MARKS = (CONFIG, HISTORY, SUMMARY, FAILURE, ".hydra/config.yaml")
#: Rounds that the time left is told from: the first of a run are slower.
RECENT = 5
#: The time at the beginning of a log, as this version and earlier ones write it.
_TIME = re.compile(r'(?:\{"time": ")?(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:[.,]\d+)?([+-]\d\d:\d\d)?')


class State(StrEnum):
    """How far a run came."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"  # early, for want of an improvement: it did what was asked
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    DAMAGED = "damaged"  # its files do not say


@dataclass(frozen=True)
class Standing:
    """A run as its files tell it.

    Attributes
    ----------
    directory : Path
        The run's.
    state : State
        How far it came.
    problem : str
        Why it failed, or what is wrong with its files, in one line.
    holder : Holder or None
        The process at work.
    began : datetime or None
        When its first attempt began, as far as that can be told.
    settings : RunSettings or None
        None before it has written them.
    lines : tuple of Line
        The finished rounds.
    summary : Summary or None
        Of a run that did what was asked.
    round_seconds : float or None
        For how long the round in progress has been going on.
    progress : Progress or None
        How the exchange with the silos stands that goes on.
    """

    directory: Path
    state: State
    problem: str = ""
    holder: Holder | None = None
    began: datetime | None = None
    settings: RunSettings | None = None
    lines: tuple[Line, ...] = ()
    summary: Summary | None = None
    round_seconds: float | None = None
    progress: Progress | None = None

    @property
    def best(self) -> Line | None:
        """The best round by the run's own measure; None if none was measured."""
        if self.settings is None or not self.lines:
            return None
        line = best_line(self.lines, self.settings.select_by)
        return None if score(line, self.settings.select_by) is None else line

    @property
    def best_value(self) -> float | None:
        """The measure of the best round."""
        if self.best is None or self.settings is None:
            return None
        value = score(self.best, self.settings.select_by)
        return -value if value is not None and self.settings.select_by == "loss" else value

    @property
    def seconds(self) -> float | None:
        """How long it took; of a run that goes on, since its command began."""
        if self.holder is not None and (since := _parsed(self.holder.since)) is not None:
            return max(0.0, (datetime.now(UTC) - since).total_seconds())
        if self.summary is not None and self.summary.wall_seconds is not None:
            return self.summary.wall_seconds
        return total(line.seconds for line in self.lines)

    @property
    def seconds_a_round(self) -> float | None:
        """The mean of the last rounds."""
        recent = [line.seconds for line in self.lines[-RECENT:] if is_finite(line.seconds)]
        return sum(recent) / len(recent) if recent else None

    @property
    def seconds_left(self) -> float | None:
        """Estimate the time to the last round of a run that goes on."""
        mean = self.seconds_a_round
        if self.state is not State.RUNNING or self.settings is None or mean is None:
            return None
        return max(0.0, mean * (self.settings.rounds - self.lines[-1].round) - min(self.round_seconds or 0.0, mean))

    def plain(self) -> dict[str, Any]:
        """Return the row of a table of runs, as JSON has it."""
        run = self.settings
        told = {
            "directory": str(self.directory),
            "state": str(self.state),
            "problem": self.problem or None,
            "began": None if self.began is None else self.began.isoformat(timespec="seconds"),
            "process": None if self.holder is None else self.holder.model_dump(),
            "method": run and run.method.name,
            "data": run and run.data.name,
            "seed": run and run.seed,
            "rounds": run and run.rounds,
            "finished_rounds": self.lines[-1].round if self.lines else 0,
            "select_by": run and run.select_by,
            "best": self.best_value,
            "best_round": self.best and self.best.round,
            "seconds": self.seconds,
        }
        return {name: finite(value) for name, value in told.items()}


def is_run(directory: Path) -> bool:
    """Whether the directory is that of one run."""
    return any((directory / mark).is_file() for mark in MARKS)


def find_runs(directory: Path, refuse: Callable[[OSError], None]) -> Iterator[Path]:
    """Find the runs in and below a directory, without looking into them; ``refuse`` is told what cannot be listed."""
    for where, inner, _ in os.walk(directory, onerror=refuse):
        if is_run(Path(where)):
            inner.clear()
            yield Path(where)


def standings(directory: Path) -> list[Standing]:
    """Return how the runs in and below a directory stand, the earliest first; damaged ones say what is wrong.

    Raises
    ------
    DataError
        If there is no such directory.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: there is no such directory; one with runs in or below it is wanted here")
    closed: list[OSError] = []
    found = [standing(path) for path in find_runs(directory, closed.append)]
    for error in closed:
        told = f"cannot be read: {error.strerror}"
        found.append(Standing(Path(error.filename), State.DAMAGED, told))
    return sorted(found, key=lambda run: (run.began is not None, run.began and run.began.timestamp(), run.directory))


def standing(directory: Path) -> Standing:
    """Tell how the run in a directory stands. What its files lack or hold wrongly is told, and no error."""
    problems: list[str] = []

    def read(name: str, how: Callable[[], Part], missing: Part, *, wanted: bool = False) -> Part:
        if not (wanted or os.path.lexists(directory / name)):
            return missing
        try:
            return how()
        except FedSQError as error:
            problems.append(str(error).removeprefix(f"{directory}{os.sep}"))
            return missing

    holder = holder_of(directory)
    nothing: tuple[Line, ...] = ()
    lines = read(HISTORY, lambda: tuple(History(directory / HISTORY).read()), nothing)
    summary = read(SUMMARY, lambda: read_summary(directory), None)
    settings = read(CONFIG, lambda: read_config(directory / CONFIG), None, wanted=bool(lines or summary))
    failure = read(FAILURE, lambda: read_failure(directory), None)
    done = summary if summary is not None and settings is not None and summary.rounds == settings.rounds else None
    if not problems and (gap := _gap(lines, done)):
        problems.append(gap)
    if holder is not None:
        state = State.RUNNING
    elif problems:
        state = State.DAMAGED
    elif done is not None:
        state = State.FINISHED if done.stopped is None else State.STOPPED
    else:
        state = State.FAILED if failure else State.INTERRUPTED
    told = problems if holder is not None or done is not None else [*problems, *([failure] if failure else [])]
    return Standing(
        directory,
        state,
        "; ".join(told),
        holder,
        _began(directory),
        settings,
        lines,
        done,
        None if holder is None else _since_last_round(directory, holder),
        None if holder is None else _progress(directory, lines),
    )


def _gap(lines: tuple[Line, ...], done: Summary | None) -> str:
    """Say which round the history lacks."""
    last = 0 if not lines else lines[-1].round
    wanted = last if done is None else done.stopped or done.rounds
    if (missing := set(range(1, wanted + 1)) - {line.round for line in lines}) or last > wanted:
        return f"{HISTORY}: {f'lacks round {min(missing)}' if missing else f'has more than {wanted} rounds'}"
    return ""


def _since_last_round(directory: Path, holder: Holder) -> float | None:
    """Return the seconds since the last round was over, or since the command began, whichever was later."""
    since = _parsed(holder.since)
    times = [since.timestamp()] if since is not None else []
    times += _modified(directory, HISTORY)
    return max(0.0, time.time() - max(times)) if times else None


def _progress(directory: Path, lines: tuple[Line, ...]) -> Progress | None:
    """Return the exchange that goes on; None if what the file says is over, or it cannot be read."""
    try:
        found = read_as(Progress, directory / PROGRESS)
    except DataError:
        return None
    return found if found.round == (lines[-1].round if lines else 0) + 1 else None


def _began(directory: Path) -> datetime | None:
    """Return the time in the first line of the log, or, of a run without one, that of its oldest file."""
    try:
        with opened(directory / LOG, at_most=MOST) as file:
            match = _TIME.match(file.read(64).decode("ascii", "replace"))
        if match and (found := _parsed(f"{match[1]}{match[2] or ''}")) is not None:
            return found
    except DataError:  # no log, or none that can be read
        pass
    times = _modified(directory, *MARKS, LOG)
    return datetime.fromtimestamp(min(times)).astimezone() if times else None


def _modified(directory: Path, *names: str) -> list[float]:
    """Return when those of the files that are there were last written."""
    return [(directory / name).stat().st_mtime for name in names if (directory / name).is_file()]


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return None
