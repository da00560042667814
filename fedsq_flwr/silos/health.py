"""The health file of a silo: as young as the last heartbeat that the SuperLink took, for systemd and containers."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.files import Count, FileModel, write_as_json

log = logging.getLogger(__name__)


class Health(FileModel):
    """What the file holds: which silo is connected to which SuperLink, by which process, and when that was known."""

    silo: Count
    superlink: str
    pid: Count
    time: str


class HealthFile:
    """The file; it is there only while the silo is connected.

    Parameters
    ----------
    path : Path
        Where it is written.
    silo : int
        The silo's number.
    superlink : str
        What the silo is connected to.
    """

    def __init__(self, path: Path, silo: int, superlink: str) -> None:
        self._path = path
        self._silo = silo
        self._superlink = superlink
        self._failed = False

    def write(self) -> None:
        """Write it anew. A disk that is full does not end a silo: the file gets old, and the log says why, once."""
        try:
            self._write()
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("health_file=%s: cannot be written: %s", self._path, error.strerror or error)
            self._failed = True

    def check(self) -> None:
        """See that it can be written, and remove one that a silo which was killed has left.

        Raises
        ------
        ConfigurationError
            If it cannot be written.
        """
        try:
            self._write()
            self._path.unlink()
        except OSError as error:
            reason = error.strerror or error
            raise ConfigurationError(f"health_file={self._path}: cannot be written: {reason}") from error

    def remove(self) -> None:
        """Remove it."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("health_file=%s: cannot be removed: %s", self._path, error.strerror or error)

    def _write(self) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_as_json(self._path, Health(silo=self._silo, superlink=self._superlink, pid=os.getpid(), time=now))


@contextmanager
def health_file(path: str | None, silo: int, superlink: str) -> Iterator[HealthFile | None]:
    """Lend a health file that is gone afterwards; None without a path.

    Raises
    ------
    ConfigurationError
        As `HealthFile.check`.
    """
    if path is None:
        yield None
        return
    file = HealthFile(Path(path), silo, superlink)
    file.check()
    try:
        yield file
    finally:
        file.remove()
