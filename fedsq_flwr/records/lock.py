"""The locks of a run's directory: one of the command at work there, one of the server that writes its rounds.

The system frees a lock when its process ends, however it ends. The command and the server may be two processes: a
server that lost its command still holds its own lock, so that nobody writes beside it.
"""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fedsq_flwr.errors import DataError
from fedsq_flwr.files import Count, FileModel, read_as, writing
from fedsq_flwr.records.status import COMMAND_LOCK, SERVER_LOCK, OccupiedError

#: Seconds that a command waits for the server of a command that was killed.
PATIENCE = 60.0
#: Seconds that anybody waits who would not wait: `holder_of` may have taken the lock for a moment.
_GLANCE = 0.2


class Holder(FileModel):
    """What a lock's file says: who holds it."""

    pid: Count
    host: str
    since: str


@contextmanager
def hold(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a run's directory for a command, from before its first file until after its last.

    Parameters
    ----------
    directory : Path
        It is there.
    wait : bool
        Wait for another command to end, for as long as that takes.

    Raises
    ------
    OccupiedError
        Another command holds it; nothing was written.
    RunFailedError
        The file of the lock cannot be written.
    """
    with _held(directory, COMMAND_LOCK, None if wait else 0.0):
        yield


@contextmanager
def hold_as_server(directory: Path) -> Iterator[None]:
    """Hold a run's directory for the server that writes its rounds.

    Raises
    ------
    OccupiedError, RunFailedError
        As `hold`.
    """
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with _held(directory, SERVER_LOCK, 0.0):
        yield


def outlast_server(directory: Path, tell: Callable[[str], None], seconds: float = PATIENCE) -> None:
    """Wait until no server writes to the directory: one whose command was killed ends soon after it.

    Parameters
    ----------
    directory : Path
        The run's.
    tell : callable
        Told once, in one line, if there is something to wait for.
    seconds : float
        How long to wait.

    Raises
    ------
    OccupiedError
        The server is still at work.
    """
    try:
        with _held(directory, SERVER_LOCK, 0.0, record=False):
            return
    except OccupiedError as error:
        tell(f"{error}; this one waits for up to {seconds:.0f} s")
    with _held(directory, SERVER_LOCK, seconds, record=False):
        pass


def holder_of(directory: Path) -> Holder | None:
    """Return which process is at work in a run's directory; None if none is. Nothing is written.

    A process that did not say who it is has number 0.
    """
    for name in (COMMAND_LOCK, SERVER_LOCK):
        path = directory / name
        try:
            # A file that is empty is nobody's. One that is not may be that of a process that was killed.
            if path.stat().st_size and _is_locked(path):
                return read_as(Holder, path)
        except OSError:  # there is none, or it may not be looked at
            continue
        except DataError:
            return Holder(pid=0, host="", since="")
    return None


def _is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back when the file is closed
        except BlockingIOError:
            return True
    return False


@contextmanager
def _held(directory: Path, name: str, seconds: float | None, *, record: bool = True) -> Iterator[None]:
    path = directory / name
    holder = _holder(path)  # before the try: old versions of filelock empty the file
    lock = FileLock(path)
    with writing(path):
        try:
            lock.acquire(timeout=-1 if seconds is None else max(seconds, _GLANCE))
        except Timeout:
            raise OccupiedError(f"output={directory}: a run is at work there, {holder}") from None
    try:
        if record:
            since = datetime.now().astimezone().isoformat(" ", "seconds")
            told = Holder(pid=os.getpid(), host=socket.gethostname(), since=since)
            with writing(path):  # in place: another file in its place would be another lock
                path.write_text(told.model_dump_json() + "\n", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            os.truncate(path, 0)  # nobody holds it
        lock.release()


def _holder(path: Path) -> str:
    """Say who holds a lock, as far as its file tells."""
    try:
        holder = read_as(Holder, path)
    except DataError:
        return "by a process that did not say who it is"
    elsewhere = "" if holder.host == socket.gethostname() else f" on {holder.host}"
    return f"process {holder.pid}{elsewhere} since {holder.since}"
