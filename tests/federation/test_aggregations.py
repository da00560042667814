"""Aggregations beside FedAvg, on toys whose averages are known by hand: silo k adds k and has k + 1 examples."""

from typing import get_args

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedMedian

from fedsq_flwr import FedSQ
from fedsq_flwr.federation.aggregation import Surroundings, build_aggregation
from fedsq_flwr.federation.local_models import LocalModels
from fedsq_flwr.federation.roster import Roster
from fedsq_flwr.federation.server_optimiser import ServerOptimiser
from fedsq_flwr.settings import method
from tests.federation.toys import FINGERPRINT, toy_app

SAMPLING = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 4}
STATE = {"w": np.zeros((2, 3), np.float32), "bn.running_var": np.ones(3, np.float32), "b": np.ones(3, np.float32)}
OPTIMISERS = {
    "avgm": lambda: FedAvgM(server_momentum=0.9, **SAMPLING),
    "adam": lambda: FedAdam(eta=0.5, **SAMPLING),
}


def start() -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in STATE.items()})


def federation(inner, roster=None, **options) -> FedSQ:
    return FedSQ(inner, fingerprint=FINGERPRINT, roster=roster, **options)


def train(strategy, grid, arrays, rounds):
    for number in rounds:
        messages = list(strategy.configure_train(number, arrays, ConfigRecord(), grid))
        arrays, _ = strategy.aggregate_train(number, list(grid.send_and_receive(messages)))
    return arrays


def sinking(silo, content):
    """Every silo finds a running variance a tenth of what it was sent, and the weights where they were."""
    for name, array in content["arrays"].items():
        content["arrays"][name] = Array(array.numpy() - np.float32(silo))
    variance = content["arrays"]["bn.running_var"].numpy()
    content["arrays"]["bn.running_var"] = Array(variance * np.float32(0.1))


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_server_optimiser_leaves_running_statistics_alone(make_grid, kind):
    grid = make_grid(toy_app(sinking))
    plain = train(federation(OPTIMISERS[kind]()), grid, start(), (1, 2, 3))
    assert (plain["bn.running_var"].numpy() < 0).all()  # what it is there for

    inner = ServerOptimiser(OPTIMISERS[kind](), ["w", "b"])
    arrays = train(federation(inner), grid, start(), (1, 2, 3))
    np.testing.assert_allclose(arrays["bn.running_var"].numpy(), np.full(3, 1e-3), rtol=1e-5)
    assert list(arrays) == list(STATE)


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_on_parameters_it_is_flowers_own(make_grid, kind):
    grid = make_grid(toy_app())
    ours = train(federation(ServerOptimiser(OPTIMISERS[kind](), ["w", "b"])), grid, start(), (1, 2, 3))
    flowers = train(federation(OPTIMISERS[kind]()), grid, start(), (1, 2, 3))
    for name in ("w", "b"):
        np.testing.assert_array_equal(ours[name].numpy(), flowers[name].numpy())


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_server_optimiser_goes_on_from_its_state_to_the_bit(make_grid, kind):
    grid = make_grid(toy_app())
    whole = train(federation(ServerOptimiser(OPTIMISERS[kind](), ["w", "b"])), grid, start(), (1, 2, 3, 4))
    first, second = (ServerOptimiser(OPTIMISERS[kind](), ["w", "b"]) for _ in range(2))
    halfway = train(federation(first), grid, start(), (1, 2))
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    resumed = train(federation(second), grid, halfway, (3, 4))
    fresh = train(federation(ServerOptimiser(OPTIMISERS[kind](), ["w", "b"])), grid, halfway, (3, 4))
    for name in STATE:
        np.testing.assert_array_equal(resumed[name].numpy(), whole[name].numpy())
    assert not np.array_equal(fresh["w"].numpy(), whole["w"].numpy())


def test_without_momentum_there_is_nothing_to_remember(make_grid):
    inner = ServerOptimiser(FedAvgM(server_learning_rate=0.5, **SAMPLING), ["w", "b"])
    train(federation(inner), make_grid(toy_app()), start(), (1,))
    assert inner.state() == {}
    inner.load_state({})


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_the_state_of_another_optimiser_is_refused(make_grid, kind):
    other = ServerOptimiser(OPTIMISERS[kind](), ["w"])
    train(federation(other), make_grid(toy_app()), start(), (1,))
    with pytest.raises(ValueError, match="is of other arrays than those that it moves"):
        ServerOptimiser(OPTIMISERS[kind](), ["w", "b"]).load_state(other.state())


def test_each_step_is_taken_from_what_was_sent(make_grid):
    """In rounds in which only the head learns the body is put back; momentum must not undo that later."""
    grid = make_grid(toy_app())
    inner = ServerOptimiser(FedAvgM(server_momentum=0.5, **SAMPLING), ["w", "b"])
    arrays = train(federation(inner, head_first_rounds=1, head=["b"]), grid, start(), (1, 2))
    np.testing.assert_allclose(arrays["w"].numpy(), np.full((2, 3), 2 * 0.5 + 2), rtol=1e-6)


def test_uniform_weights_count_every_silo_the_same_and_are_said_to_nobody_else(make_grid):
    grid, strategy = make_grid(toy_app()), federation(FedAvg(**SAMPLING), uniform=True)
    messages = list(strategy.configure_train(1, start(), ConfigRecord(), grid))
    replies = list(grid.send_and_receive(messages))
    arrays, _ = strategy.aggregate_train(1, replies)
    np.testing.assert_allclose(arrays["w"].numpy(), np.full((2, 3), (0 + 1 + 2 + 3) / 4), rtol=1e-6)
    assert {silo: metrics["num-examples"] for silo, metrics in strategy.training.metrics.items()} == {
        0: 1, 1: 2, 2: 3, 3: 4,
    }  # fmt: skip
    assert [content["metrics"]["num-examples"] for content in strategy.averaged(replies)] == [1, 1, 1, 1]


def test_a_strategy_that_empties_replies_leaves_them_whole_for_others(make_grid):
    grid, strategy = make_grid(toy_app()), federation(FedMedian(**SAMPLING))
    replies = list(grid.send_and_receive(list(strategy.configure_train(1, start(), ConfigRecord(), grid))))
    arrays, _ = strategy.aggregate_train(1, replies)
    np.testing.assert_array_equal(arrays["w"].numpy(), np.full((2, 3), 1.5, np.float32))
    assert all(list(content["arrays"]) == list(STATE) for content in strategy.averaged(replies))


def test_without_aggregation_each_silo_goes_on_with_its_own(make_grid):
    grid, roster = make_grid(toy_app()), Roster()
    inner = LocalModels(start(), roster, fraction_train=0.5, **SAMPLING)
    strategy, arrays, rounds = federation(inner, roster), start(), dict.fromkeys(range(4), 0)
    for number in range(1, 6):
        arrays = train(strategy, grid, arrays, (number,))
        for silo in strategy.training.sampled:
            rounds[silo] += 1
        for silo, model in inner.models.items():
            np.testing.assert_array_equal(model["w"].numpy(), np.full((2, 3), silo * rounds[silo], np.float32))
        messages = list(strategy.configure_evaluate(number, arrays, ConfigRecord(), grid))
        for message in messages:
            silo = roster.silo(message.metadata.dst_node_id)
            sent = message.content["arrays"]["w"].numpy()
            np.testing.assert_array_equal(sent, np.full((2, 3), silo * rounds[silo], np.float32))
    assert 0 < min(rounds.values()) < max(rounds.values())  # else it does not test who rests

    resumed = LocalModels(start(), roster, **SAMPLING)
    resumed.load_state(inner.state())
    for silo, model in inner.models.items():
        for name in STATE:
            np.testing.assert_array_equal(resumed.models[silo][name].numpy(), model[name].numpy())


@pytest.mark.parametrize("variant", get_args(get_args(method.Averaging)[0]), ids=lambda variant: variant.__name__)
def test_every_aggregation_is_built(variant):
    run = Surroundings(start(), frozenset({"bn.running_var"}), Roster(), SAMPLING)
    inner = build_aggregation(variant(), run)
    assert not isinstance(inner, ServerOptimiser) or inner.parameters == ["w", "b"]
