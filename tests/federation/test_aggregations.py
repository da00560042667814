"""Aggregations beside FedAvg, on toys whose averages are known by hand: silo k adds k and has k + 1 examples."""

from typing import get_args

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedMedian

from fedsq_flwr import FedSQ
from fedsq_flwr.federation.aggregation import Surroundings, build_aggregation
from fedsq_flwr.federation.local_models import LocalModels
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.settings import method
from tests.federation.toys import FINGERPRINT, toy_app

SAMPLING = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 4}
STATE = {"w": np.zeros((2, 3), np.float32), "bn.running_var": np.ones(3, np.float32), "b": np.ones(3, np.float32)}


def start() -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in STATE.items()})


def federation(inner, registry=None, **options) -> FedSQ:
    return FedSQ(inner, fingerprint=FINGERPRINT, registry=registry, **options)


def train(strategy, grid, arrays, rounds):
    for number in rounds:
        messages = list(strategy.configure_train(number, arrays, ConfigRecord(), grid))
        arrays, _ = strategy.aggregate_train(number, list(grid.send_and_receive(messages)))
    return arrays


def test_a_strategy_that_empties_replies_leaves_them_whole_for_others(make_grid):
    grid, strategy = make_grid(toy_app()), federation(FedMedian(**SAMPLING))
    replies = list(grid.send_and_receive(list(strategy.configure_train(1, start(), ConfigRecord(), grid))))
    arrays, _ = strategy.aggregate_train(1, replies)
    np.testing.assert_array_equal(arrays["w"].numpy(), np.full((2, 3), 1.5, np.float32))
    assert all(list(content["arrays"]) == list(STATE) for content in strategy.averaged(replies))


def test_without_aggregation_each_silo_goes_on_with_its_own(make_grid):
    grid, registry = make_grid(toy_app()), NodeRegistry()
    inner = LocalModels(start(), registry, fraction_train=0.5, **SAMPLING)
    strategy, arrays, rounds = federation(inner, registry), start(), dict.fromkeys(range(4), 0)
    for number in range(1, 6):
        arrays = train(strategy, grid, arrays, (number,))
        for silo in strategy.training.sampled:
            rounds[silo] += 1
        for silo, model in inner.models.items():
            np.testing.assert_array_equal(model["w"].numpy(), np.full((2, 3), silo * rounds[silo], np.float32))
        messages = list(strategy.configure_evaluate(number, arrays, ConfigRecord(), grid))
        for message in messages:
            silo = registry.silo(message.metadata.dst_node_id)
            sent = message.content["arrays"]["w"].numpy()
            np.testing.assert_array_equal(sent, np.full((2, 3), silo * rounds[silo], np.float32))
    assert 0 < min(rounds.values()) < max(rounds.values())  # else it does not test who rests

    resumed = LocalModels(start(), registry, **SAMPLING)
    resumed.load_state(inner.state())
    for silo, model in inner.models.items():
        for name in STATE:
            np.testing.assert_array_equal(resumed.models[silo][name].numpy(), model[name].numpy())


@pytest.mark.parametrize("variant", get_args(get_args(method.Averaging)[0]), ids=lambda variant: variant.__name__)
def test_every_aggregation_is_built_and_averages(make_grid, variant):
    registry = NodeRegistry()
    inner = build_aggregation(variant(), Surroundings(start(), registry, SAMPLING))
    averaged = train(federation(inner, registry), make_grid(toy_app()), start(), (1, 2))
    assert list(averaged) == list(STATE)
    assert not np.array_equal(averaged["w"].numpy(), STATE["w"])
