"""Polling backs off: the waits between two polls grow from 50 ms to a longest wait."""

from collections.abc import Iterator

_FIRST, _GROWTH = 0.05, 1.5


def waits(longest: float) -> Iterator[float]:
    """Yield seconds to wait, from 0.05 on and each 1.5 times the one before, up to ``longest``.

    What comes soon is found soon, and what comes late costs few polls.
    """
    seconds = _FIRST
    while True:
        yield min(seconds, longest)
        seconds = min(seconds * _GROWTH, longest)
