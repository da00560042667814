"""Linear probing in the first rounds: every silo is told, and the body keeps its bits whatever comes back."""

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord
from flwr.serverapp.strategy import FedAdam, FedAvg

from fedsq_flwr import DualCopy, FedSQ, QuantitativeCopy
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.arrays import to_arrays, to_state
from fedsq_flwr.federation.layers import LinearProbing
from tests.federation.loops import everywhere
from tests.federation.silos import client_of, network, silo_app
from tests.federation.toys import mean_of, sampling, toy_app


def federation(inner=FedAvg, rounds=1, head=("b",), fingerprint=""):
    minimums = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 3}
    return FedSQ(inner(**minimums), linear_probing_rounds=rounds, head=head, fingerprint=fingerprint)


def alone(inner=FedAvg):
    return LinearProbing(inner(**sampling(3)), 1, ["b"])


@everywhere(alone, federation)
@pytest.mark.parametrize("inner", [FedAvg, FedAdam])
def test_the_body_rests_for_so_long_and_learns_then(make_grid, arrays, make, loop, inner):
    """Silo k adds k to every array, whatever it is told: the layer does not rely on the silos."""
    grid = make_grid(toy_app(), silos=3)
    first, second = (loop(make(inner), grid, arrays, rounds) for rounds in (1, 2))
    assert first["w"].numpy().tobytes() == arrays["w"].numpy().tobytes()
    assert not np.array_equal(second["w"].numpy(), arrays["w"].numpy())
    if inner is FedAvg:
        np.testing.assert_allclose(first["b"].numpy(), np.full(3, 1 + mean_of(0, 1, 2)), rtol=1e-6)
        np.testing.assert_allclose(second["w"].numpy(), np.full((2, 3), mean_of(0, 1, 2)), rtol=1e-6)


@everywhere(alone, federation)
def test_silos_are_told_in_those_rounds_of_training_only(make_grid, arrays, make, loop):
    told = []
    app = toy_app()
    train = app._registered_funcs["train.default"]

    def listen(message, context):
        told.append(message.content["config"].get("head-only"))
        return train(message, context)

    app._registered_funcs["train.default"] = listen
    loop(make(), make_grid(app, silos=3), arrays, 2)
    assert told == [True] * 3 + [None] * 3


def train_round(strategy, grid, arrays, number):
    replies = grid.send_and_receive(strategy.configure_train(number, arrays, ConfigRecord(), grid))
    return strategy.aggregate_train(number, replies)[0]


def test_the_first_rounds_messages_say_so_and_no_others(make_grid, arrays):
    strategy, grid = federation(rounds=2), make_grid(toy_app(), silos=3)
    said = {
        (kind, number): [
            m.content["config"].get("head-only") for m in configure(number, arrays, ConfigRecord(), grid)
        ]
        for number in (1, 2, 3)
        for kind, configure in (("train", strategy.configure_train), ("evaluate", strategy.configure_evaluate))
    }
    assert said[("train", 1)] == said[("train", 2)] == [True] * 3
    assert said[("train", 3)] == said[("evaluate", 1)] == [None] * 3


@pytest.mark.parametrize("inner", [FedAvg, FedAdam])
def test_the_body_keeps_every_bit_even_if_silos_answer_with_another(make_grid, arrays, inner):
    strategy, grid = federation(inner), make_grid(toy_app(), silos=3)  # silo k adds k to every array
    first = train_round(strategy, grid, arrays, 1)
    assert first["w"].numpy().tobytes() == arrays["w"].numpy().tobytes()
    assert not np.array_equal(first["b"].numpy(), arrays["b"].numpy())
    second = train_round(strategy, grid, first, 2)
    assert not np.array_equal(second["w"].numpy(), arrays["w"].numpy())


def test_arrays_without_the_heads_are_refused(make_grid, arrays):
    strategy = federation(head=("fc.bias",))
    with pytest.raises(RunFailedError, match=r"round 1: the arrays lack \['fc.bias'\]"):
        strategy.configure_train(1, arrays, ConfigRecord(), make_grid(toy_app(), silos=3))


def test_the_names_of_the_head_are_needed():
    with pytest.raises(ValueError, match="linear_probing_rounds=2: needs the names"):
        FedSQ(linear_probing_rounds=2)


@pytest.mark.parametrize("model_class", [DualCopy, QuantitativeCopy])
def test_in_the_silos_only_the_head_learns_for_so_long(make_grid, model_class):
    model = model_class(network())
    grid = make_grid(silo_app(lambda: model_class(network())), silos=3)
    strategy = federation(rounds=2, head=list(model.head_state()), fingerprint=model.fingerprint)
    arrays = to_arrays(model.quantitative_state())
    moved = []
    for number in (1, 2, 3):
        before, arrays = to_state(arrays), train_round(strategy, grid, arrays, number)
        moved.append({name for name, tensor in to_state(arrays).items() if not torch.equal(tensor, before[name])})
    assert moved == [{"4.weight", "4.bias"}, {"4.weight", "4.bias"}, before.keys()]


def test_fedprox_holds_the_head_alone_too():
    def fit(mu):
        model = QuantitativeCopy(network())
        start = [tensor.numpy().copy() for tensor in model.quantitative_state().values()]
        trained, _, _ = client_of(model, 0).fit(start, {"server-round": 1, "head-only": True, "proximal-mu": mu})
        return [float(np.abs(a - b).sum()) for a, b in zip(trained, start, strict=True)]

    free, held = fit(0.0), fit(5.0)
    assert sum(moved > 0 for moved in free) == sum(moved > 0 for moved in held) == 2
    assert sum(held) < sum(free)
