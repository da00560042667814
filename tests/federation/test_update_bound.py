"""An update is compared with the medians of earlier rounds."""

import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg, FedAvgM, FedMedian, FedTrimmedAvg, Krum, MultiKrum

from fedsq_flwr import FedSQ
from fedsq_flwr.federation.update_bound import UpdateBound
from tests.federation.loops import both_loops
from tests.federation.toys import sampling, toy_app


def after(*rounds, ratio=10.0, learning="all"):
    """A bound after rounds of such norms."""
    bound = UpdateBound(ratio)
    for norms in rounds:
        bound.begin(learning)
        for norm in norms:
            assert bound.find_fault(norm) is None
        bound.finish()
    bound.begin("all")
    return bound


def test_in_the_first_round_any_update_that_is_a_number_is_taken():
    assert after().find_fault(1e17) is None
    assert after().find_fault(math.inf) == "has an update of norm inf"
    assert after().find_fault(1e19) == "has an update of norm 1e+19"


def test_the_reference_is_the_largest_median_and_a_minority_cannot_move_it():
    bound = after([1, 2, 1000], [0.5], ratio=10)
    assert bound.find_fault(20) is None
    assert bound.find_fault(20.1) == (
        "has an update of norm 20.1, above max_update_ratio=10 times 2, the largest median of an earlier round"
    )


def test_replies_of_the_same_round_do_not_count():
    bound = after([1], ratio=10)
    for _ in range(5):
        assert bound.find_fault(9) is None
    assert bound.find_fault(11) is not None


def test_zero_is_off_and_nothing_is_remembered():
    bound = after([1], ratio=0)
    assert bound.find_fault(1e6) is None
    assert bound.state() == {}


def test_updates_of_nothing_are_no_reference():
    assert after([0, 0, 0]).find_fault(1) is None


def test_when_all_layers_begin_to_learn_the_head_is_no_reference():
    bound = after([1, 1], learning="head")
    assert bound.find_fault(1000) is None
    bound.begin("head")
    assert bound.find_fault(11) is not None


def test_what_it_remembers_goes_on_and_leaves_others_alone():
    bound, other = after([1.1, 2.3]), UpdateBound(10)
    assert other.load_state({"m_t/w": 5, **bound.state()}) == {"m_t/w": 5}
    other.begin("all")
    assert other.find_fault(17) is None
    assert other.find_fault(17.1) == bound.find_fault(17.1)


@pytest.mark.parametrize("ratio", [-1, math.nan, math.inf])
def test_the_ratio_must_be_a_number(ratio):
    with pytest.raises(ValueError, match="max_update_ratio"):
        UpdateBound(ratio)


def scaled_from(first_round, factor=1e4):
    """Silo 3 of the toys scales its update from a round on."""

    def spoil(silo, content):
        if silo == 3 and content.array_records and content["config"]["server-round"] >= first_round:
            record = content["arrays"]
            content["arrays"] = ArrayRecord({n: Array(np.float32(factor) + a.numpy()) for n, a in record.items()})

    return spoil


AGGREGATIONS = [FedAvg, FedAvgM, FedMedian, FedTrimmedAvg, Krum, MultiKrum]


@both_loops
@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda each: each.__name__)
def test_a_scaled_update_costs_one_reply_in_every_aggregation(make_grid, arrays, loop, aggregation):
    strategy = FedSQ(aggregation(**sampling()), max_update_ratio=30)
    averaged = loop(strategy, make_grid(toy_app(scaled_from(2))), arrays, 3)
    assert list(strategy.training.dropped) == [3]
    assert "above max_update_ratio=30 times" in strategy.training.dropped[3]
    assert np.abs(averaged["w"].numpy()).max() < 100


def test_without_a_bound_it_does_not(make_grid, arrays):
    averaged = FedSQ(FedAvg(**sampling())).start(make_grid(toy_app(scaled_from(2))), arrays, num_rounds=3).arrays
    assert averaged["w"].numpy().max() > 1000


def test_a_resumed_run_judges_as_one_that_was_not_interrupted(make_grid, arrays):
    from tests.federation.layers.test_server_optimiser import train

    whole, first, second = (FedSQ(FedAvgM(server_momentum=0.5, **sampling()), max_update_ratio=30) for _ in range(3))
    expected = train(whole, make_grid(toy_app(scaled_from(3))), arrays, (1, 2, 3))
    middle = train(first, make_grid(toy_app(scaled_from(3))), arrays, (1, 2))
    second.load_state(first.state())
    found = train(second, make_grid(toy_app(scaled_from(3))), middle, (3,))
    assert second.training.dropped == whole.training.dropped != {}
    np.testing.assert_array_equal(found["w"].numpy(), expected["w"].numpy())
