"""Finding the runs below directories. Unfinished and damaged runs are listed too."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fedsq_flwr.errors import DataError, FedSQError
from fedsq_flwr.records.config import CONFIG, read_config
from fedsq_flwr.records.history import HISTORY
from fedsq_flwr.records.runs import find_runs
from fedsq_flwr.records.summary import SUMMARY, read_failure
from fedsq_flwr.report.comparison.settings import Values, comparable
from fedsq_flwr.report.run import Run, read_run


class State(Enum):
    """The state of a run; only finished runs are averaged."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    REPEATED = "repeated"  # finished, but the same settings and seed as another one


@dataclass(frozen=True)
class Entry:
    """A run's directory.

    Attributes
    ----------
    directory : Path
        The directory.
    name : str
        What the page calls it.
    state : State
        How far the run came.
    values : mapping
        Its settings as far as they are compared; empty where they are not known.
    run : Run or None
        None where no round can be read.
    problem : str
        Why it is not averaged.
    seed : int or None
        Its seed, where its settings are known.
    """

    directory: Path
    name: str
    state: State
    values: Values
    run: Run | None
    problem: str = ""
    seed: int | None = None


def collect(directories: Sequence[Path]) -> list[Entry]:
    """Read all runs in and below `directories`, in the order of their names; each once.

    Raises
    ------
    DataError
        If a directory is not there, or there is no run below it.
    """
    found: dict[Path, Entry] = {}
    for directory in directories:
        if not directory.is_dir():
            raise DataError(
                f"{directory}: there is no such directory; a run's, or one with runs below it, is wanted here"
            )
        runs = sorted(find_runs(directory, _refuse))
        if not runs:
            raise DataError(f"{directory}: no run is in or below it (a run has a config.yaml and a history.jsonl)")
        for path in runs:
            name = str(path.relative_to(directory)) if len(directories) == 1 else str(path)
            found.setdefault(path.resolve(), _read(path, name))
    return list(found.values())


def _refuse(error: OSError) -> None:
    """Stop at a directory that cannot be read: there may be runs below it."""
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}")


def _read(directory: Path, name: str) -> Entry:
    values: Values = {}
    failure = seed = None
    try:
        failure = read_failure(directory)
        if (directory / CONFIG).exists():
            settings = read_config(directory / CONFIG)
            values, seed = comparable(settings), settings.seed
        if not _has_rounds(directory):
            state = State.FAILED if failure else State.UNFINISHED
            return Entry(directory, name, state, values, None, failure or "no round is recorded", seed)
        run = read_run(directory)
    except FedSQError as error:
        problem = str(error).removeprefix(f"{directory}{os.sep}")
        return Entry(directory, name, State.UNREADABLE, values, None, failure or problem, seed)
    if run.finished:
        return Entry(directory, name, State.FINISHED, values, run, seed=seed)
    told = f"{len(run.rounds)} of {run.settings.rounds} rounds are recorded"
    return Entry(directory, name, State.FAILED if failure else State.UNFINISHED, values, run, failure or told, seed)


def _has_rounds(directory: Path) -> bool:
    """Whether the run has a history; before its first round it has none, which is no error."""
    history = directory / HISTORY
    return (directory / SUMMARY).exists() or (history.exists() and history.stat().st_size > 0)
