"""Finding and stopping the processes that one run started, and no others."""

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

import psutil

_POLL_SECONDS = 0.05


def descendants(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    """Return those of the processes that still run, and every process below them."""
    found: set[psutil.Process] = set()
    # Lowest id first, mostly the oldest, which has the others below it: each look below one goes through
    # all of the machine's processes.
    for process in sorted(processes, key=lambda process: process.pid):
        if process not in found:
            with suppress(psutil.Error):
                found |= {process, *process.children(recursive=True)}
    return {process for process in found if is_alive(process)}


def marked(name: str, value: str) -> set[psutil.Process]:
    """Return the processes in whose environment the variable ``name`` is ``value``.

    This finds what lost its parent. A process rewrites its environment when it sets its title (Ray's
    workers do), so it is no substitute for `descendants`.
    """
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # gone, or another user's
            if process.environ().get(name) == value:
                found.add(process)
    return {process for process in found if is_alive(process)}


def is_alive(process: psutil.Process) -> bool:
    """Whether this process runs, and not a later one with its id; a zombie does not run."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end(find: Callable[[], Collection[psutil.Process]], grace: float = 2.0, attempts: int = 5) -> None:
    """End every process that ``find`` returns: terminate, wait ``grace`` seconds, kill.

    ``find`` is asked again until it returns nothing, as a process may start another one while it is
    being ended; what such a latecomer gets is the kill.
    """
    processes = find()
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    _wait(processes, grace)
    for _ in range(attempts):
        processes = find()
        if not processes:
            return
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        _wait(processes, grace)


def _wait(processes: Collection[psutil.Process], seconds: float) -> None:
    """Wait until none of the processes is alive, but no longer than ``seconds``."""
    deadline = time.monotonic() + seconds
    while any(is_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
