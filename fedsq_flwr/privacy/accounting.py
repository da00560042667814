"""Epsilon from the noisy mechanisms that have run, by Google's dp-accounting.

What is counted: normal noise of standard deviation ``multiplier`` times the most that one unit can change, added to
what is worked out of a random sample of the units. Samples are drawn in one of two ways:

* Each unit is taken by itself, with probability ``sampling``. Neighbouring data sets differ in one unit, which is
  added or removed (Mironov, Talwar and Zhang, 2019, arXiv 1908.10530).
* Of a ``population`` of units a fixed number is drawn without replacement. Neighbouring data sets differ in one unit,
  which is replaced (Wang, Balle and Kasiviswanathan, 2019, arXiv 1808.00087).

Renyi differential privacy adds up over any mixture of mechanisms of one way (Mironov, 2017, arXiv 1702.07476).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from fedsq_flwr.errors import ConfigurationError

#: Orders of the Renyi divergence that are tried. Below 2, the accountant's sums do not always end; other fractions
#: take it long and gain little.
_ORDERS = (2.25, 2.5, 2.75, 3.5, 4.5, *range(2, 65), 80, 96, 128, 192, 256, 512)


@dataclass(frozen=True)
class Mechanism:
    """A normal mechanism.

    Attributes
    ----------
    multiplier : float
        Of the noise.
    sampling : float
        The probability with which a unit is in the sample.
    population : int or None
        Of how many units ``sampling`` times as many are drawn without replacement; None: each is taken by itself.
    """

    multiplier: float
    sampling: float = 1.0
    population: int | None = None


def epsilon_of(spent: Mapping[Mechanism, int], delta: float) -> float:
    """Return epsilon at ``delta`` of mechanisms that each ran so many times; infinite if it is beyond counting.

    Raises
    ------
    ConfigurationError
        As `check_accountant`.
    ValueError
        If samples are drawn in both ways.
    """
    check_accountant()
    from dp_accounting import (
        DpEvent,
        GaussianDpEvent,
        NeighboringRelation,
        PoissonSampledDpEvent,
        SampledWithoutReplacementDpEvent,
    )
    from dp_accounting.rdp import RdpAccountant

    if len(ways := {mechanism.population is None for mechanism in spent}) > 1:
        raise ValueError("units are either replaced, or added and removed")
    replaced = NeighboringRelation.REPLACE_ONE if ways == {False} else NeighboringRelation.ADD_OR_REMOVE_ONE
    accountant = RdpAccountant(_ORDERS, replaced)
    for mechanism, count in spent.items():
        event: DpEvent = GaussianDpEvent(mechanism.multiplier)
        if mechanism.population is not None:
            drawn = round(mechanism.sampling * mechanism.population)
            event = SampledWithoutReplacementDpEvent(mechanism.population, drawn, event)
        elif mechanism.sampling != 1:
            event = PoissonSampledDpEvent(mechanism.sampling, event)
        try:
            accountant.compose(event, count)
        except OverflowError:
            return inf
    epsilon = float(accountant.get_epsilon(delta))
    return epsilon if epsilon >= 0 else inf  # NaN is beyond counting too


def check_accountant() -> None:
    """Check that dp-accounting is there.

    Raises
    ------
    ConfigurationError
        One line that says how to install it.
    """
    try:
        import dp_accounting.rdp  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            "privacy: needs the package dp-accounting (pip install 'fedsq-flwr[privacy]')"
        ) from error
