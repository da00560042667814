"""Waiting: polls that back off, and patience with the last to answer."""

from collections.abc import Iterator
from dataclasses import dataclass

_FIRST = 0.05
_GROWTH = 1.2
_SLACK = 1.25  # times that a silo may take longer than it is expected to


def waits(longest: float) -> Iterator[float]:
    """Yield seconds to wait, from 0.05 on and each 1.2 times the one before, up to ``longest``.

    What comes soon is found soon, and what comes late costs few polls: each wait is about a fifth of all before it.
    """
    seconds = _FIRST
    while True:
        yield min(seconds, longest)
        seconds = min(seconds * _GROWTH, longest)


@dataclass(frozen=True)
class Patience:
    """How long an exchange waits for the last silos, once enough others have answered.

    Attributes
    ----------
    fraction : float
        Fraction of the silos that have not failed which is enough; 1: all, so that nobody is left out.
    grace : float
        Seconds that each of the others has beyond the time that it is expected to take.
    fewest : int
        Never fewer answers are enough.
    """

    fraction: float
    grace: float
    fewest: int = 1

    def suffices(self, answered: int, asked: int) -> bool:
        """Tell whether the answers of ``answered`` silos are enough, of ``asked`` that have not failed."""
        return answered >= max(1, self.fewest) and answered >= self.fraction * asked

    def seconds(self, sufficed: float, last: float | None, share: float = 1.0) -> float:
        """Return how many seconds after it was asked a silo is left out.

        Parameters
        ----------
        sufficed : float
            Seconds after which enough silos had answered.
        last : float, optional
            Seconds that this silo took when it answered last.
        share : float
            Size of this silo's data, relative to those of the silos that have answered: before its own time is
            known, the silo is expected to take so many times longer than these.
        """
        expected = share * sufficed if last is None else last
        return max(sufficed, _SLACK * expected) + self.grace


#: Waits for everybody until the timeout.
ALL = Patience(1.0, 0.0)
