"""How the round in progress stands, in a small file that `fedsq status` reads and that is gone after the run."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fedsq_flwr.files import Count, FileModel, Several, write_as_json

if TYPE_CHECKING:  # torch: `fedsq status` does without
    from fedsq_flwr.federation.exchange import InProgress

PROGRESS = "progress.json"
log = logging.getLogger(__name__)


class Progress(FileModel):
    """What the file holds: an exchange with the silos, since when it goes on, and why silos failed, by number."""

    round: Count
    doing: Literal["training", "evaluating"]
    since: str
    asked: Several[Count]
    awaited: Several[Count]
    failed: dict[str, str]


class _ProgressFile:
    """Writes no more often than ``every`` seconds; the last word is written all the same, that much later."""

    def __init__(self, path: Path, every: float) -> None:
        self._path = path
        self._every = every
        self._lock = threading.Lock()
        self._written = -every
        self._timer: threading.Timer | None = None
        self._last: Progress | None = None
        self._broken = False

    def tell(self, going: "InProgress") -> None:
        """Note how an exchange stands."""
        with self._lock:
            before, since = self._last, datetime.now(UTC).isoformat(timespec="seconds")
            if before is not None and (before.round, before.doing) == (going.round, going.doing):
                since = before.since
            failed = {str(silo): reason for silo, reason in going.failed.items()}
            self._last = Progress(
                round=going.round,
                doing=going.doing,
                since=since,
                asked=going.asked,
                awaited=going.awaited,
                failed=failed,
            )
            left = self._written + self._every - time.monotonic()
            if left <= 0:
                self._write()
            elif self._timer is None:
                self._timer = threading.Timer(left, self._later)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Remove the file."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._broken = True
            self._path.unlink(missing_ok=True)

    def _later(self) -> None:
        with self._lock:
            self._timer = None
            self._write()

    def _write(self) -> None:
        """Write the last word; a disk that is full ends no run here."""
        if self._broken or self._last is None:
            return
        self._written = time.monotonic()
        try:
            write_as_json(self._path, self._last)
        except OSError as error:
            self._broken = True
            log.warning("%s: cannot be written: %s", self._path, error.strerror or error)


@contextmanager
def progress_file(directory: Path, every: float = 1.0) -> Iterator[Callable[["InProgress"], None]]:
    """Lend a function that is told how each exchange stands; the file is gone afterwards."""
    file = _ProgressFile(directory / PROGRESS, every)
    try:
        yield file.tell
    finally:
        file.close()
