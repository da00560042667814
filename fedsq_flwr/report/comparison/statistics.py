"""Statistics over seeds: mean and std, paired differences with a bootstrap interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import fmean

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 9999
FEWEST_PAIRS = 3  # fewer have no interval
SEED = 0  # of the resampling: the same runs give the same interval


class Outcome(Enum):
    """How a method compares with another one, by the interval of the paired differences."""

    AHEAD = "ahead"
    BEHIND = "behind"
    NOT_TOLD_APART = "not told apart"
    TOO_FEW = "too few pairs"


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample: n - 1) of `n` values; one value has no std."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Mean of the paired differences of `n` seeds; `low` and `high` bound its interval, None below three pairs."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def outcome(self, *, higher_is_better: bool = True) -> Outcome:
        """Return which method is ahead; neither, unless the interval excludes 0."""
        if self.low is None or self.high is None:
            return Outcome.TOO_FEW
        if self.low <= 0 <= self.high:
            return Outcome.NOT_TOLD_APART
        return Outcome.AHEAD if (self.low > 0) == higher_is_better else Outcome.BEHIND


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and std; None if there are no values."""
    if not values:
        return None
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(fmean(values), std, len(values))  # exact, whatever the order of the values


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Compare two methods seed by seed.

    Parameters
    ----------
    ours, theirs : Mapping[int, float]
        A figure by seed; only seeds that both have count.

    Returns
    -------
    Difference or None
        Ours minus theirs, with the percentile interval of the bootstrap; None without a pair.
    """
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if not differences:
        return None
    low, high = _interval(differences) if len(differences) >= FEWEST_PAIRS else (None, None)
    return Difference(float(np.mean(differences)), low, high, len(differences))


def by_luck(pairs: int) -> float:
    """Return the probability that all differences have one sign although their median is 0."""
    return math.ldexp(1.0, 1 - pairs)


def first_reached(accuracies: Sequence[tuple[int, float | None]], target: float) -> int | None:
    """Return the first round whose accuracy is at least `target`; None if there is none."""
    return next((number for number, value in accuracies if value is not None and value >= target), None)


def _interval(differences: Sequence[float]) -> tuple[float, float]:
    """Return the percentile interval of the mean.

    BCa would correct for skewness and bias, which a handful of differences cannot tell.
    """
    from scipy.stats import bootstrap  # takes a second

    drawn = bootstrap(
        (np.array(differences),),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)
