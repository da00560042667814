"""Signals during a run: SIGTERM and SIGHUP raise an exception, and none interrupts the clean-up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

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


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
