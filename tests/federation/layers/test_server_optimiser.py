"""Server optimisers move parameters only, step from what was sent, and go on from what they remembered."""

import random

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi

from fedsq_flwr import FedSQ, QuantitativeCopy
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.arrays import to_arrays, to_state
from fedsq_flwr.federation.layers import SeededOrder, ServerOptimiser
from fedsq_flwr.federation.layers.server_optimiser import is_statistic
from fedsq_flwr.federation.registry import NodeRegistry
from tests.federation.grids import losing
from tests.federation.loops import both_loops, everywhere, flowers_loop
from tests.federation.silos import network, silo_app
from tests.federation.toys import mean_of, sampling, toy_app

STATE = {"w": np.zeros((2, 3), np.float32), "bn.running_var": np.ones(3, np.float32), "b": np.ones(3, np.float32)}
OPTIMISERS = {
    "avgm": lambda: FedAvgM(server_momentum=0.9, **sampling()),
    "adam": lambda: FedAdam(eta=0.5, **sampling()),
    "yogi": lambda: FedYogi(eta=0.5, **sampling()),
    "adagrad": lambda: FedAdagrad(eta=0.5, **sampling()),
}
KINDS = pytest.mark.parametrize("kind", OPTIMISERS)


def start() -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in STATE.items()})


def train(strategy, grid, arrays, rounds):
    for number in rounds:
        messages = list(strategy.configure_train(number, arrays, ConfigRecord(), grid))
        arrays, _ = strategy.aggregate_train(number, list(grid.send_and_receive(messages)))
    return arrays


def sinking(silo, content):
    """Every silo finds a running variance a tenth of what it was sent, and the weights where they were."""
    if not content.array_records:
        return
    for name, array in content["arrays"].items():
        content["arrays"][name] = Array(array.numpy() - np.float32(silo))
    variance = content["arrays"]["bn.running_var"].numpy()
    content["arrays"]["bn.running_var"] = Array(variance * np.float32(0.1))


@everywhere(ServerOptimiser, FedSQ)
@KINDS
def test_running_statistics_are_averaged(make_grid, make, loop, kind):
    arrays = loop(make(OPTIMISERS[kind]()), make_grid(toy_app(sinking)), start(), 3)
    np.testing.assert_allclose(arrays["bn.running_var"].numpy(), np.full(3, 1e-3), rtol=1e-5)
    assert list(arrays) == list(STATE)


@pytest.mark.parametrize("kind", ["avgm", "adam", "yogi"])
def test_flowers_own_make_variances_negative(make_grid, kind):
    """Otherwise the test above shows nothing."""
    plain = flowers_loop(OPTIMISERS[kind](), make_grid(toy_app(sinking)), start(), 3)
    assert (plain["bn.running_var"].numpy() < 0).all()


@both_loops
@pytest.mark.parametrize("optimiser", [FedAdam, FedYogi])
def test_a_network_with_batch_norm_keeps_positive_variances(make_grid, loop, optimiser):
    """Real silos, whose data have smaller variances than the start says."""
    start = QuantitativeCopy(network()).quantitative_state()
    start["2.running_var"] = torch.full((8,), 0.5)
    arrays = to_arrays(start)

    def run(strategy):
        grid = make_grid(silo_app(lambda: QuantitativeCopy(network()), scale=1e-2), silos=3)
        return to_state(loop(strategy, grid, arrays, 3))["2.running_var"]

    inner = optimiser(eta=0.5, **sampling(3))
    assert bool((run(FedSQ(inner)) > 0).all())
    if loop is flowers_loop:  # what it is there for
        assert bool((run(optimiser(eta=0.5, **sampling(3))) < 0).any())


@everywhere(ServerOptimiser, FedSQ)
@KINDS
def test_on_parameters_it_is_flowers_own(make_grid, make, loop, kind):
    grid = make_grid(toy_app())
    ours = loop(make(OPTIMISERS[kind]()), grid, start(), 3)
    flowers = flowers_loop(OPTIMISERS[kind](), grid, start(), 3)
    for name in ("w", "b"):
        np.testing.assert_allclose(ours[name].numpy(), flowers[name].numpy(), rtol=1e-5)


@KINDS
def test_on_parameters_it_is_flowers_own_to_the_bit(make_grid, kind):
    """One round: from the second on FedSQ sends what Flower computed in float64 as float32."""
    grid = make_grid(toy_app())
    random.seed(0)  # of the order in which Flower sums
    ours = flowers_loop(ServerOptimiser(OPTIMISERS[kind]()), grid, start())
    random.seed(0)
    flowers = flowers_loop(OPTIMISERS[kind](), grid, start())
    for name in ("w", "b"):
        np.testing.assert_array_equal(ours[name].numpy(), flowers[name].numpy())


def in_order(optimiser):
    return SeededOrder(ServerOptimiser(optimiser), NodeRegistry())


@pytest.mark.parametrize("make", [in_order, FedSQ])
@KINDS
def test_a_server_optimiser_goes_on_from_its_state_to_the_bit(make_grid, make, kind):
    grid = make_grid(toy_app())
    whole = train(make(OPTIMISERS[kind]()), grid, start(), (1, 2, 3, 4))
    first, second = (make(OPTIMISERS[kind]()) for _ in range(2))
    halfway = train(first, grid, start(), (1, 2))
    second.load_state({name: tensor.clone() for name, tensor in sorted(first.state().items())})
    assert {name: tensor.tolist() for name, tensor in second.state().items()} == {
        name: tensor.tolist() for name, tensor in first.state().items()
    }
    resumed = train(second, grid, halfway, (3, 4))
    fresh = train(make(OPTIMISERS[kind]()), grid, halfway, (3, 4))
    for name in STATE:
        np.testing.assert_array_equal(resumed[name].numpy(), whole[name].numpy())
    assert not np.array_equal(fresh["w"].numpy(), whole["w"].numpy())


@pytest.mark.parametrize("make", [ServerOptimiser, FedSQ])
def test_without_momentum_there_is_nothing_to_remember(make_grid, make):
    strategy = make(FedAvgM(server_learning_rate=0.5, **sampling()))
    arrays = train(strategy, make_grid(toy_app()), start(), (1,))
    assert strategy.state() == {}
    strategy.load_state({})
    train(strategy, make_grid(toy_app()), arrays, (2,))


def test_other_strategies_remember_nothing(make_grid):
    strategy = FedSQ(FedAvg(**sampling()))
    arrays = train(strategy, make_grid(toy_app()), start(), (1,))
    assert strategy.state() == {}
    strategy.load_state({})
    train(strategy, make_grid(toy_app()), arrays, (2,))


@pytest.mark.parametrize("make", [ServerOptimiser, FedSQ])
@KINDS
@pytest.mark.parametrize("change", ["fewer", "another shape", "nothing"])
def test_the_state_of_another_optimiser_is_refused(make_grid, make, kind, change):
    arrays = {
        "fewer": {"w": STATE["w"]},
        "another shape": {**STATE, "b": np.ones(1, np.float32)},
        "nothing": None,
    }[change]
    state = {}
    if arrays is not None:
        other = make(OPTIMISERS[kind]())
        train(other, make_grid(toy_app()), ArrayRecord({n: Array(a) for n, a in arrays.items()}), (1,))
        state = other.state()
    strategy = make(OPTIMISERS[kind]())
    strategy.load_state(state)
    with pytest.raises(RunFailedError, match="is of other arrays than those that it moves"):
        train(strategy, make_grid(toy_app()), start(), (2,))


@everywhere(lambda inner, **_: ServerOptimiser(inner), FedSQ)
def test_each_step_is_taken_from_what_was_sent(make_grid, make, loop):
    """Whatever the caller sends in a round, momentum does not bring back what the optimiser made of the last one."""
    grid, strategy = make_grid(toy_app()), make(FedAvgM(server_momentum=0.5, **sampling()))
    loop(strategy, grid, start(), 1)
    again = train(strategy, grid, start(), (2,))
    np.testing.assert_allclose(again["w"].numpy(), np.full((2, 3), 2 * 0.5 + 2), rtol=1e-6)


@both_loops
def test_the_body_of_linear_probing_does_not_jump_later(make_grid, loop):
    """In rounds in which only the head learns the body is put back; momentum must not undo that later."""
    inner = FedAvgM(server_momentum=0.5, **sampling())
    arrays = loop(FedSQ(inner, linear_probing_rounds=1, head=["b"]), make_grid(toy_app()), start(), 2)
    np.testing.assert_allclose(arrays["w"].numpy(), np.full((2, 3), 2 * 0.5 + 2), rtol=1e-6)


@everywhere(ServerOptimiser, FedSQ)
def test_a_lost_silo_counts_in_neither_part(make_grid, make, loop):
    arrays = {**STATE, "bn.running_var": np.zeros(3, np.float32)}
    sent = ArrayRecord({name: Array(value) for name, value in arrays.items()})
    grid = losing(make_grid(toy_app()), 3, told=True)
    averaged = loop(make(FedAvgM(server_learning_rate=0.5, **sampling())), grid, sent)
    np.testing.assert_allclose(averaged["w"].numpy(), np.full((2, 3), mean_of(0, 1, 2) / 2), rtol=1e-6)
    np.testing.assert_allclose(averaged["bn.running_var"].numpy(), np.full(3, mean_of(0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("layer1.0.bn1.running_mean", True),
        ("bn.running_var", True),
        ("1.num_batches_tracked", True),
        ("running_var", True),
        ("bn.weight", False),
        ("running_mean.weight", False),
        ("my_running_var", False),
    ],
)
def test_statistics_are_known_by_the_names_that_torch_gives_them(name, is_one):
    assert is_statistic(name) is is_one
