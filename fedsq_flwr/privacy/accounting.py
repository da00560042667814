"""Epsilon from the noisy mechanisms that have run, by Google's dp-accounting.

What is counted: normal noise of standard deviation ``multiplier`` times the most that one unit can change, added to a
batch that takes each sample by itself with probability ``sampling``. Neighbouring data sets differ in one unit, which
is added or removed. Renyi differential privacy adds up over any mixture of such mechanisms (Mironov, 2017, arXiv
1702.07476); for the sampled ones see Mironov, Talwar and Zhang (2019, arXiv 1908.10530).
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
    """A normal mechanism: its noise multiplier, and the probability with which it takes a sample."""

    multiplier: float
    sampling: float = 1.0


def epsilon_of(spent: Mapping[Mechanism, int], delta: float) -> float:
    """Return epsilon at ``delta`` of mechanisms that each ran so many times; infinite if it is beyond counting.

    Raises
    ------
    ConfigurationError
        As `check_accountant`.
    """
    check_accountant()
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(_ORDERS)
    for mechanism, count in spent.items():
        event = GaussianDpEvent(mechanism.multiplier)
        sampled = event if mechanism.sampling == 1 else PoissonSampledDpEvent(mechanism.sampling, event)
        try:
            accountant.compose(sampled, count)
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
