"""A process beside a run that outlives it: it ends what the run has started, if the run is killed.

Its standard input is a pipe from the run. The system closes the pipe when the run's process ends, however it ends:
nothing is polled, and this works on every system. (A signal of the parent's death would not reach the grandchildren
that Flower and Ray start.)
"""

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from fedsq_flwr.executors import processes

#: The variable in whose value processes have the home that they run in.
HOME = "FLWR_HOME"
#: The file in a home that whoever looks after it holds a lock on.
LOCK = ".lock"
#: The last line from a run that has cleared up itself.
DISMISSED = b"dismissed"

_COMMAND_SECONDS = 20.0
_LOCK_SECONDS = 5.0


def main(home: Path) -> None:
    """Wait for the end of the run; if it was no end in order, clear up."""
    told: dict[str, Any] = {}
    for line in sys.stdin.buffer:
        if line.strip() == DISMISSED:
            return
        told = json.loads(line)
    if told:
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(  # noqa: S603 - no shell; what the run would have called itself
                told["command"],
                env=told["environment"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
    with suppress(Timeout, OSError), FileLock(home / LOCK, timeout=_LOCK_SECONDS):
        clear(home)  # another run that starts now may be at it already


def clear(home: Path) -> None:
    """End all that runs in a home, and remove it."""
    known: set[psutil.Process] = set()

    def find() -> set[psutil.Process]:
        # Some of Ray's processes hide their environment, and are found below others as long as these are there.
        known.update(processes.descendants(known | processes.marked(HOME, str(home))))
        return {process for process in known if processes.is_alive(process)}

    processes.end(find)
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
