"""How long to wait between two looks for something that comes by itself: briefly at first, then longer."""

from collections.abc import Iterator

_FIRST, _GROWTH = 0.05, 1.5


def waits(longest: float) -> Iterator[float]:
    """Yield seconds to wait, from a twentieth on and half as long again each time, up to ``longest``.

    What comes soon is so found soon, and what takes its time costs few looks.
    """
    seconds = _FIRST
    while True:
        yield min(seconds, longest)
        seconds = min(seconds * _GROWTH, longest)
