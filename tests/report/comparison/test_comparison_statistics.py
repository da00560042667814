"""Numbers worked by hand."""

import pytest

from fedsq_flwr.report.comparison.statistics import (
    Difference,
    Outcome,
    Spread,
    by_luck,
    first_reached,
    paired_difference,
    spread,
)


def test_mean_and_the_std_of_a_sample():
    assert spread([1.0, 2.0, 3.0]) == Spread(2.0, 1.0, 3)
    assert spread([0.9]) == Spread(0.9, None, 1)
    assert spread([]) is None


def test_only_seeds_that_both_have_are_paired():
    difference = paired_difference({0: 0.9, 1: 0.8, 5: 0.1}, {0: 0.7, 1: 0.9, 2: 0.2})
    assert difference.n == 2
    assert difference.mean == pytest.approx(0.05)  # of 0.2 and -0.1
    assert (difference.low, difference.high) == (None, None)
    assert difference.outcome() is Outcome.TOO_FEW
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_the_interval_of_three_pairs_runs_from_the_least_to_the_most():
    # 1 of 27 resamples is three times the least: more than the 2.5 % that are cut off.
    difference = paired_difference({0: 0.5, 1: 0.625, 2: 0.75}, {0: 0.25, 1: 0.5, 2: 0.75})
    assert (difference.mean, difference.low, difference.high, difference.n) == (0.125, 0.0, 0.25, 3)
    assert difference.outcome() is Outcome.NOT_TOLD_APART


def test_the_interval_is_the_same_whenever_it_is_computed():
    ours, theirs = {seed: 0.9 + 0.01 * (seed % 4) for seed in range(8)}, dict.fromkeys(range(8), 0.9)
    first = paired_difference(ours, theirs)
    assert first == paired_difference(ours, theirs)
    assert 0 < first.low < first.mean < first.high < 0.03


def test_equal_runs_are_not_told_apart():
    equal = dict.fromkeys(range(3), 0.9)
    assert paired_difference(equal, equal).outcome() is Outcome.NOT_TOLD_APART


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "outcome"),
    [
        (0.1, 0.2, True, Outcome.AHEAD),
        (-0.2, -0.1, True, Outcome.BEHIND),
        (-0.1, 0.2, True, Outcome.NOT_TOLD_APART),
        (0.0, 0.2, True, Outcome.NOT_TOLD_APART),
        (-3.0, -1.0, False, Outcome.AHEAD),
        (1.0, 3.0, False, Outcome.BEHIND),
    ],
)
def test_who_is_ahead(low, high, higher_is_better, outcome):
    assert Difference((low + high) / 2, low, high, 3).outcome(higher_is_better=higher_is_better) is outcome


def test_three_seeds_agree_by_luck_in_one_case_of_four():
    assert by_luck(3) == 0.25
    assert by_luck(5) == 0.0625


def test_the_first_round_at_the_target():
    accuracies = [(1, 0.5), (2, None), (3, 0.9), (4, 0.8), (5, 0.95)]
    assert first_reached(accuracies, 0.9) == 3
    assert first_reached(accuracies, 0.96) is None
