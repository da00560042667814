"""Bad replies of every kind, drawn by a seed; ``python -m scripts.soak.replies`` draws them without end."""

import warnings

import pytest

from scripts.soak.replies import soak


@pytest.mark.parametrize("seed", [2, 3])
def test_a_bad_reply_costs_one_reply_and_the_average_is_that_of_the_good_ones(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        tried = soak(count=200, seed=seed, seconds=60)
    assert tried["bad replies"] >= 200
