"""A run's folder in the temporary directory, which goes with the run, however that ends."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from fedsq_flwr.executors.environment import isolated_environment
from fedsq_flwr.executors.keeper import DISMISSED, HOME, LOCK, clear

_PREFIX = "fedsq-"
_LONGEST_BASE = 18
#: Seconds from which on a folder that nobody holds is left over, and not just made.
_YOUNG = 60.0


class Home:
    """A temporary folder, with a process that removes it, and ends what runs in it, if this process is killed.

    What runs in it has its path in the environment variable ``FLWR_HOME``. Folders that nobody holds any more, since
    their keepers were killed too, are removed when the next one is made.

    Parameters
    ----------
    prefix : str
        How its name begins.

    Attributes
    ----------
    path : Path
        The folder. Its path leaves room for the names of Ray's sockets, which lie some 70 characters below it: a
        socket's path ends at about 104.
    """

    def __init__(self, prefix: str = _PREFIX) -> None:
        base = Path(tempfile.gettempdir())
        if len(str(base)) > _LONGEST_BASE and Path("/tmp").is_dir():  # noqa: S108  (mkdtemp makes a fresh one)
            base = Path("/tmp")  # noqa: S108
        remove_left_over(base)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        self._lock = FileLock(self.path / LOCK)
        self._lock.acquire()
        self._keeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.keep()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def keep(self) -> None:
        """Start the keeper; what it is to end must be started after it."""
        environment = isolated_environment(self.path, {})
        # A session of its own, so that neither Ctrl-C nor what kills this process's group ends it too.
        self._keeper = subprocess.Popen(  # noqa: S603  (no shell)
            [sys.executable, "-m", "fedsq_flwr.executors.keeper", str(self.path)],
            env={name: value for name, value in environment.items() if name != HOME},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def at_loss(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Have the keeper call a command first, if this process is killed."""
        self._tell(json.dumps({"command": list(command), "environment": dict(environment)}).encode())

    def remove(self) -> None:
        """Remove the folder; does nothing a second time. What ran in it has ended."""
        if self._lock.is_locked:
            shutil.rmtree(self.path, ignore_errors=True)
            self._tell(DISMISSED)
            if self._keeper is not None:
                with suppress(OSError):
                    if self._keeper.stdin is not None:
                        self._keeper.stdin.close()
                self._keeper.kill()
                self._keeper.wait()
            self._lock.release()

    def _tell(self, line: bytes) -> None:
        if self._keeper is not None and self._keeper.stdin is not None:
            with suppress(OSError):  # somebody killed the keeper: the run does without
                self._keeper.stdin.write(line + b"\n")
                self._keeper.stdin.flush()


def remove_left_over(base: Path, young: float = _YOUNG) -> None:
    """Remove the homes of runs that were killed together with their keepers, and end what still runs in them.

    Parameters
    ----------
    base : Path
        Where homes are made.
    young : float
        Seconds; folders that were changed later may be about to be locked.
    """
    for folder in base.glob(f"{_PREFIX}*"):
        with suppress(OSError, Timeout):  # gone, or another user's, or in use
            status = folder.lstat()
            is_ours = status.st_uid == os.getuid() and (folder / LOCK).is_file()
            if is_ours and time.time() - status.st_mtime > young:
                with FileLock(folder / LOCK, timeout=0):
                    clear(folder)
