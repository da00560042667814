"""Every silo counts the same in the average; what silos said stays as it was said."""

import numpy as np
import pytest
from flwr.app import ConfigRecord
from flwr.serverapp.strategy import FedAvg

from fedsq_flwr import FedSQ
from fedsq_flwr.federation.layers import UniformWeights
from tests.federation.grids import losing
from tests.federation.loops import everywhere
from tests.federation.toys import sampling, toy_app


def alone(**options):
    return UniformWeights(FedAvg(**sampling(), **options))


def whole(**options):
    return FedSQ(FedAvg(**sampling(), **options), uniform=True)


@everywhere(alone, whole)
def test_every_silo_counts_the_same(make_grid, arrays, make, loop):
    averaged = loop(make(), make_grid(toy_app()), arrays, 2)
    np.testing.assert_allclose(averaged["w"].numpy(), np.full((2, 3), 2 * (0 + 1 + 2 + 3) / 4), rtol=1e-6)


@everywhere(alone, whole)
def test_the_evaluation_is_weighted_as_ever_and_errors_pass(make_grid, arrays, make, loop):
    strategy, found = make(), []
    aggregate = strategy.bottom.aggregate_evaluate
    strategy.bottom.aggregate_evaluate = lambda *given: found.append(aggregate(*given)) or found[-1]
    averaged = loop(strategy, losing(make_grid(toy_app()), 3, told=True), arrays)
    np.testing.assert_allclose(averaged["w"].numpy(), np.full((2, 3), (0 + 1 + 2) / 3), rtol=1e-6)
    assert [metrics["accuracy"] for metrics in found] == [pytest.approx((0.1 * 1 + 0.2 * 2 + 0.3 * 3) / 6)]


@pytest.mark.parametrize("make", [alone, whole])
def test_the_weight_has_the_name_that_the_inner_strategy_gives_it(make_grid, arrays, make):
    def rename(silo, content):
        content["metrics"]["images"] = content["metrics"]["num-examples"]

    grid, strategy = make_grid(toy_app(rename)), make(weighted_by_key="images")
    messages = list(strategy.configure_train(1, arrays, ConfigRecord(), grid))
    replies = list(grid.send_and_receive(messages))
    averaged, _ = strategy.aggregate_train(1, replies)
    np.testing.assert_allclose(averaged["w"].numpy(), np.full((2, 3), (0 + 1 + 2 + 3) / 4), rtol=1e-6)
    assert sorted(reply.content["metrics"]["images"] for reply in replies) == [1, 2, 3, 4]


def test_uniform_weights_are_said_to_nobody_but_whoever_averages(make_grid, arrays):
    grid, strategy = make_grid(toy_app()), whole()
    replies = list(grid.send_and_receive(strategy.configure_train(1, arrays, ConfigRecord(), grid)))
    strategy.aggregate_train(1, replies)
    assert {silo: metrics["num-examples"] for silo, metrics in strategy.training.metrics.items()} == {
        0: 1, 1: 2, 2: 3, 3: 4,
    }  # fmt: skip
    assert [content["metrics"]["num-examples"] for content in strategy.averaged(replies)] == [1, 1, 1, 1]
