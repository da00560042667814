"""Finding the runs below directories, whatever state they are in: none is left out without a word."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from fedsq_flwr.errors import DataError
from fedsq_flwr.report.comparison.settings import flatten
from fedsq_flwr.report.records import Run
from fedsq_flwr.report.rundir import read_failure, read_run, read_values
from fedsq_flwr.settings.composition import compose_settings

#: Any of them makes a directory a run's. The last one is Hydra's, there before the run has begun.
MARKS = ("config.yaml", "history.jsonl", "summary.json", "failure.json", ".hydra/config.yaml")


class State(Enum):
    """How far a run came; only finished runs are averaged."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    REPEATED = "repeated"  # finished, but the same settings and seed as another one


@dataclass(frozen=True)
class Entry:
    """A run's directory.

    ``values`` are its settings by dotted name, empty where they are not known; ``run`` is None where no
    round can be read; ``problem`` says why it is not averaged.
    """

    directory: Path
    name: str
    state: State
    values: dict[str, Any]
    run: Run | None
    problem: str = ""


def is_run(directory: Path) -> bool:
    """Whether the directory is that of one run."""
    return any((directory / mark).is_file() for mark in MARKS)


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
            raise DataError(f"{directory}: no such directory; a run's, or one with runs below it, is wanted here")
        runs = sorted(_below(directory))
        if not runs:
            raise DataError(f"{directory}: no run is in or below it (a run has a config.yaml and a history.jsonl)")
        for path in runs:
            name = str(path.relative_to(directory)) if len(directories) == 1 else str(path)
            found.setdefault(path.resolve(), _read(path, name))
    return _filled(list(found.values()))


def _filled(entries: Sequence[Entry]) -> list[Entry]:
    """Give runs of older versions the settings that they did not know: these default to what was done then."""
    known = dict.fromkeys(name for entry in entries for name in entry.values)
    if not any(entry.values.keys() < known.keys() for entry in entries):
        return list(entries)
    defaults = flatten(compose_settings().plain())
    fill = {name: defaults[name] for name in known if name in defaults}
    return [replace(entry, values={**entry.values, **_absent(fill, entry)}) for entry in entries]


def _absent(values: dict[str, Any], entry: Entry) -> dict[str, Any]:
    """Return the values that the run does not have; nothing where nothing is known of it."""
    return {name: value for name, value in values.items() if entry.values and name not in entry.values}


def _below(directory: Path) -> Iterator[Path]:
    """Find the runs, without looking into them."""
    for where, inner, _ in os.walk(directory, onerror=_refuse):
        if is_run(Path(where)):
            inner.clear()
            yield Path(where)


def _refuse(error: OSError) -> None:
    """Stop at a directory that cannot be read: there may be runs below it."""
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}")


def _read(directory: Path, name: str) -> Entry:
    values: dict[str, Any] = {}
    failure = None
    try:
        failure = read_failure(directory)
        values = _settings(directory)
        if not _has_rounds(directory):
            state = State.FAILED if failure else State.UNFINISHED
            return Entry(directory, name, state, values, None, failure or "no round is recorded")
        run = read_run(directory)
    except DataError as error:
        problem = str(error).removeprefix(f"{directory}{os.sep}")
        return Entry(directory, name, State.UNREADABLE, values, None, failure or problem)
    if run.finished:
        return Entry(directory, name, State.FINISHED, values, run)
    told = f"{len(run.rounds)} of {run.settings.rounds} rounds are recorded"
    return Entry(directory, name, State.FAILED if failure else State.UNFINISHED, values, run, failure or told)


def _has_rounds(directory: Path) -> bool:
    """Whether there is something to read: before its first round a run has no history, which is no defect."""
    history = directory / "history.jsonl"
    return (directory / "summary.json").exists() or (history.exists() and history.stat().st_size > 0)


def _settings(directory: Path) -> dict[str, Any]:
    """Read the settings; those of a job that died before it wrote them are with Hydra."""
    for path in (directory / "config.yaml", directory / ".hydra" / "config.yaml"):
        if path.is_file():
            values, _ = read_values(path)
            flat = flatten(values) if isinstance(values, dict) else {}
            return {name: value for name, value in flat.items() if True}
    return {}
