"""Epsilon against computations by hand, from the formulas of the papers."""

from math import comb, exp, log

import pytest

from fedsq_flwr.privacy.accounting import Mechanism, epsilon_of

pytest.importorskip("dp_accounting", reason="the extra privacy is not installed")

DELTA = 1e-5


def by_hand(divergence: dict[int, float]) -> float:
    """Epsilon of Renyi divergences by their order (Canonne, Kamath and Steinke, 2020, proposition 12)."""
    return min(
        total + log((order - 1) / order) - (log(DELTA) + log(order)) / (order - 1)
        for order, total in divergence.items()
    )


def test_normal_noise_alone() -> None:
    """Order a has divergence a / (2 s^2), and ten times that after ten rounds."""
    expected = by_hand({order: 10 * order / (2 * 4.0**2) for order in range(2, 65)})
    assert expected == pytest.approx(3.7, abs=0.2)
    found = epsilon_of({Mechanism(4.0): 10}, DELTA)
    assert found == pytest.approx(expected, rel=0.01)
    assert found <= expected + 1e-9  # more orders are tried


def test_noise_on_a_sampled_batch() -> None:
    """Mironov, Talwar and Zhang (2019), section 3.3, for whole orders: a binomial sum."""
    noise, sampling, steps = 1.1, 0.05, 40

    def divergence(order: int) -> float:
        terms = (
            comb(order, k) * (1 - sampling) ** (order - k) * sampling**k * exp(k * (k - 1) / (2 * noise**2))
            for k in range(order + 1)
        )
        return log(sum(terms)) / (order - 1)

    expected = by_hand({order: steps * divergence(order) for order in range(2, 33)})
    found = epsilon_of({Mechanism(noise, sampling): steps}, DELTA)
    assert found == pytest.approx(expected, rel=0.02)
    assert found <= expected + 1e-9


def test_noise_on_a_fixed_number_of_units() -> None:
    """Wang, Balle and Kasiviswanathan (2019), theorem 27, for whole orders; all units are the plain mechanism."""
    noise, population, drawn, rounds = 1.0, 10, 4, 10

    def difference(order: int) -> float:
        terms = ((-1) ** (order - i) * comb(order, i) * exp(i * (i - 1) / (2 * noise**2)) for i in range(order + 1))
        return sum(terms)

    def term(j: int) -> float:
        if j == 2:
            return min(4 * (exp(1 / noise**2) - 1), 2 * exp(1 / noise**2))
        even = difference(2 * (j // 2)) * difference(2 * -(-j // 2))
        return min(4 * even**0.5, 2 * exp(j * (j - 1) / (2 * noise**2)))

    def divergence(order: int) -> float:
        terms = (comb(order, j) * (drawn / population) ** j * term(j) for j in range(2, order + 1))
        return log(1 + sum(terms)) / (order - 1)

    expected = by_hand({order: rounds * divergence(order) for order in range(2, 9)})
    found = epsilon_of({Mechanism(noise, drawn / population, population): rounds}, DELTA)
    assert found == pytest.approx(expected, rel=0.02)
    assert found <= expected + 1e-9
    everyone = epsilon_of({Mechanism(noise, 1.0, population): rounds}, DELTA)
    assert everyone == pytest.approx(epsilon_of({Mechanism(noise): rounds}, DELTA))
    assert found < everyone


def test_the_two_ways_of_sampling_do_not_mix() -> None:
    with pytest.raises(ValueError, match="either replaced, or added and removed"):
        epsilon_of({Mechanism(1.0): 1, Mechanism(1.0, 0.5, 10): 1}, DELTA)


def test_rounds_and_runs_add_up_whatever_their_order() -> None:
    parts = {Mechanism(1.0, 0.1): 7, Mechanism(2.0): 1, Mechanism(1.0, 0.2): 3}
    assert epsilon_of(parts, DELTA) == epsilon_of(dict(reversed(parts.items())), DELTA)
    assert epsilon_of(parts, DELTA) > epsilon_of({Mechanism(1.0, 0.1): 7}, DELTA) > epsilon_of({}, DELTA) == 0


@pytest.mark.parametrize("mechanism", [Mechanism(0.05), Mechanism(0.05, 1e-4), Mechanism(1.0, 0.1)])
def test_what_cannot_be_counted_is_no_small_epsilon(mechanism: Mechanism) -> None:
    assert epsilon_of({mechanism: 2**62}, DELTA) > 1e9
