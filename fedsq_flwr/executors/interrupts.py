"""What ends a run from outside: signals, which raise and never interrupt the clean-up, and a parent's death."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_WATCH_SECONDS = 1.0
_WATCHER = "parent"
_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def ending_signals_raise() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into ``SystemExit``, so that they unwind the stack as Ctrl-C does.

    Signals that the program ignores or handles already are left as they are, and so is everything
    outside the main thread, where Python allows no handlers.

    Raises
    ------
    SystemExit
        With status 128 + the signal's number, where the signal came.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    mine = [s for s in _ENDING if _in_main_thread() and signal.getsignal(s) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Delay Ctrl-C, SIGTERM and SIGHUP during the few seconds of the clean-up."""
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    numbers = (signal.SIGINT, *_ENDING) if _in_main_thread() else ()
    # A handler that Python did not install reads as None and cannot be put back: leave it alone.
    before = {n: signal.signal(n, hold) for n in numbers if signal.getsignal(n) is not None}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def end_with_parent() -> None:
    """End this process, a worker of another one, soon after that is killed; it would go on with its job otherwise.

    The worker is killed, too: whatever a run writes is whole at any time, and what it started has a keeper.
    """
    if any(thread.name == _WATCHER for thread in threading.enumerate()):
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name=_WATCHER, daemon=True).start()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
