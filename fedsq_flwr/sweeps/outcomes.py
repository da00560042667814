"""Events of the jobs of a sweep: one file for each event, so that jobs may run in any process.

A job's process and the one that shows the sweep share nothing but the sweep's directory. Each event is a
file of its own, written whole: processes on several machines can append to one file only with care.
"""

import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fedsq_flwr.files import write_whole


class State(StrEnum):
    """The state of a job."""

    RUNNING = "running"
    FINISHED = "finished"
    THERE = "there"  # an earlier sweep finished it
    FAILED = "failed"


@dataclass(frozen=True)
class Event:
    """A job begins, or is over.

    Attributes
    ----------
    number : int
        Hydra's number of the job, from 0.
    overrides : list of str
        That tell it from others.
    directory : str
        The job's.
    state : State
        What became of it.
    rounds : int
        That it is to run; 0 where that is not known.
    best, test : float or None
        The best round's `Summary.score`, and its test accuracy.
    round : int
        That was the best; 0 without one.
    seconds : float
        That it took.
    error : str
        The one line that says why it failed.
    """

    number: int
    overrides: list[str]
    directory: str
    state: State
    rounds: int = 0
    best: float | None = None
    round: int = 0
    test: float | None = None
    seconds: float = 0.0
    error: str = ""


def tell(place: Path, event: Event) -> None:
    """Write ``event`` to the directory ``place``; do nothing if the directory is gone with the sweep."""
    name = f"{event.number:06d}-{'begins' if event.state is State.RUNNING else 'over'}.json"
    best = event.best if event.best is not None and math.isfinite(event.best) else None
    with suppress(FileNotFoundError):
        write_whole(place / name, json.dumps({**asdict(event), "best": best}).encode())


class Inbox:
    """Reads the events in a directory, each once.

    Parameters
    ----------
    place : Path
        The directory.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._read: set[str] = set()

    def read(self) -> list[Event]:
        """Return the events that came since the last call, in the order in which they were written."""
        fresh = [file for file in self._place.glob("*.json") if file.name not in self._read]
        fresh.sort(key=lambda file: (file.stat().st_mtime_ns, file.name))
        self._read.update(file.name for file in fresh)
        return [_parse(json.loads(file.read_text(encoding="utf-8"))) for file in fresh]


def _parse(values: dict[str, Any]) -> Event:
    return Event(**{**values, "state": State(values["state"])})
