"""The log of a run: the output of its processes in one file."""

import re
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from fedsq_flwr.files import writing

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_KEPT_LINES = 2000
_CLOSING_SECONDS = 2.0


class RunLog:
    """Appends the output of child processes to a file, line by line and without terminal colours.

    Parameters
    ----------
    path : Path
        The file, which may hold the log of an earlier attempt.

    Raises
    ------
    RunFailedError
        If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._recent: deque[str] = deque(maxlen=_KEPT_LINES)
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the remaining lines and close the file."""
        self.drain(_CLOSING_SECONDS)
        with self._lock, suppress(OSError):  # of a full disk
            self._file.close()

    def collect(self, stream: IO[bytes], listen: Callable[[str], None] | None = None) -> None:
        """Write what comes from ``stream`` until it ends, in a thread of its own, which also calls ``listen``."""
        thread = threading.Thread(target=self._copy, args=(stream, listen), daemon=True)
        thread.start()
        self._threads.append(thread)

    def drain(self, seconds: float) -> None:
        """Wait until all streams have ended and are written, for each at most ``seconds``."""
        for thread in self._threads:
            thread.join(seconds)

    def recent(self) -> list[str]:
        """Return this attempt's last lines, oldest first."""
        with self._lock:
            return list(self._recent)

    def _copy(self, stream: IO[bytes], listen: Callable[[str], None] | None) -> None:
        with stream:
            for raw in stream:
                line = _COLOUR.sub("", raw.decode("utf-8", errors="replace")).rstrip()
                if listen is not None:
                    listen(line)
                # A full disk or a closed file must not end this loop: the writer would wait for ever.
                with self._lock, suppress(OSError, ValueError):
                    self._recent.append(line)
                    self._file.write(line + "\n")
