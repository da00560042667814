"""The linear regimes of an activation: in regime ``r`` its output is ``slopes[r] * z + offsets[r]``.

A gate says in which regime an element is. It is stored as the sign of a *mark*: positive in regime 0, zero (or NaN)
in regime 1, negative in regime 2. The output of a ReLU is such a mark: regime 0 is open, regime 1 is closed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class Regimes:
    """The table of an activation with two or three linear regimes.

    Attributes
    ----------
    slopes : tuple of float or None
        The slope of each regime; None is a parameter of the network that learns, as in a PReLU.
    offsets : tuple of float
        The offset of each regime.
    divisor : float
        By which all outputs are divided, where torch does so; else 1.
    """

    slopes: tuple[float | None, ...]
    offsets: tuple[float, ...]
    divisor: float = 1.0

    @property
    def bits(self) -> int:
        """Bits of an element: one for two regimes, two for three."""
        return len(self.slopes) - 1

    @cached_property
    def without_offsets(self) -> "Regimes":
        """The table that maps an incoming gradient to the gradient of the input."""
        slopes = tuple(None if slope is None else slope * (1 / self.divisor) for slope in self.slopes)
        return Regimes(slopes, (0.0,) * len(slopes))

    @cached_property
    def where_learnt(self) -> "Regimes":
        """The table that keeps the elements whose slope learns, and makes all others 0."""
        return Regimes(tuple(float(slope is None) for slope in self.slopes), (0.0,) * len(self.slopes))

    def values(self, value: Tensor, slope: Tensor | None) -> Iterator[tuple[int, Tensor | float]]:
        """Yield each regime that is not 0 everywhere, and its output for ``value``; a constant output is a number.

        The operations are those of torch's activations, so that the results are equal to the bit.
        """
        for regime, (factor, offset) in enumerate(zip(self.slopes, self.offsets, strict=True)):
            if factor is None and slope is not None:
                scaled = value * slope.to(value.dtype)
            elif factor:
                # In place, the first output alone may be the value itself: the value is written over by it.
                scaled = value if factor == 1 and regime == 0 else value * factor
            elif offset:
                yield regime, offset / self.divisor
                continue
            else:
                continue
            shifted = scaled + offset if offset else scaled
            yield regime, shifted if self.divisor == 1 else shifted / self.divisor


RELU = Regimes((1.0, 0.0), (0.0, 0.0))
