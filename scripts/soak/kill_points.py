"""Dying between any two changes of a directory: a forked child that exits, as if killed, before its n-th change."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DIED, _FAILED = 77, 78
#: Audit events of what changes a directory, and which of their arguments are paths in it.
_CHANGES = {"os.rename": (0, 1), "os.remove": (0,), "os.mkdir": (0,), "os.truncate": (0,), "os.rmdir": (0,)}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def died_at(point: int, directory: Path, work: Callable[[], None]) -> bool:
    """Do ``work`` in a forked child that dies before its ``point``-th change in ``directory``; tell whether it died.

    A change is a file that is opened for writing, made, renamed, cut or removed, or written and about to be synced.
    Nothing is cleared up by the child: no ``finally`` and no ``with`` is left.

    Raises
    ------
    RuntimeError
        If the work failed before that.
    """
    child = os.fork()
    if child == 0:
        try:
            die_before(point, directory)
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - told by the status; this is no process to unwind
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
        finally:
            os._exit(_FAILED)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, DIED):
        raise RuntimeError(f"the child ended with status {status}")
    return status == DIED


def die_before(point: int, directory: Path) -> None:
    """Have this process die before its ``point``-th change in ``directory``, from now on."""
    place, done, sync = str(directory), [0], os.fsync

    def change() -> None:
        done[0] += 1
        if done[0] == point:
            os._exit(DIED)

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        paths = [arguments[index] for index in _CHANGES.get(event, ())]
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
            paths = [arguments[0]]
        if any(isinstance(path, str | Path) and str(path).startswith(place) for path in paths):
            change()

    def synced(descriptor: int) -> None:
        change()
        sync(descriptor)

    sys.addaudithook(listen)
    os.fsync = synced
