"""The core of a silo: on tensors, without Flower; its client says the same in Flower's words."""

import subprocess
import sys

import pytest
import torch

from fedsq_flwr import DualCopy, FedSQClient, QuantitativeCopy
from fedsq_flwr.federation import silo as silo_module
from fedsq_flwr.federation.silo import EvaluateReply, RoundOrders, Silo, TrainReply
from fedsq_flwr.learning import TrainingSettings, derive_seed, evaluate, train_locally
from tests.federation.silos import SETTINGS, network, samples

MODELS = pytest.mark.parametrize("model_class", [DualCopy, QuantitativeCopy])


def silo_of(model, number=1, **options):
    options = {"train": samples(number), "held_out": samples(number + 1), "settings": SETTINGS, "seed": 3, **options}
    return Silo(model, number=number, **options)


def copy_of(model):
    return {name: tensor.clone() for name, tensor in model.quantitative_state().items()}


def orders(model, server_round=2, **options):
    return RoundOrders(server_round, model.fingerprint, **options)


@MODELS
def test_it_trains_as_the_loop_does_by_hand(model_class):
    model, by_hand = model_class(network()), model_class(network())
    start = copy_of(model)
    reply = silo_of(model).train(start, orders(model))
    result = train_locally(by_hand, *samples(1), SETTINGS, seed=derive_seed(3, "train", 2, 1))
    assert isinstance(reply, TrainReply)
    assert (reply.loss, reply.examples) == (result.loss, len(samples(1)[1]))
    assert reply.seconds > 0
    assert list(reply.state) == list(start)
    assert all(torch.equal(tensor, by_hand.quantitative_state()[name]) for name, tensor in reply.state.items())


@MODELS
def test_it_evaluates_what_it_is_given_on_what_it_holds_out(model_class):
    model, by_hand = model_class(network()), model_class(network())
    state = {name: tensor * 0.5 for name, tensor in copy_of(model).items()}
    by_hand.load_quantitative_state(state)
    expected = evaluate(by_hand, *samples(2))
    assert silo_of(model).evaluate(state, orders(model)) == EvaluateReply(
        expected.loss, expected.accuracy, expected.examples
    )


def test_replies_of_silos_that_share_a_model_do_not_share_memory():
    """What one silo replied stays as it was when the next one trains on the same model."""
    model = QuantitativeCopy(network())
    start = copy_of(model)
    first = silo_of(model, 0).train(start, orders(model))
    kept = {name: tensor.clone() for name, tensor in first.state.items()}
    second = silo_of(model, 1).train(start, orders(model))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in first.state.items())
    assert not all(torch.equal(tensor, second.state[name]) for name, tensor in first.state.items())


def test_a_whole_federation_needs_no_flower():
    model = DualCopy(network())
    state, losses = copy_of(model), []
    silos = [silo_of(model, number, settings=TrainingSettings(1, 4, 0.02)) for number in range(3)]
    for number in range(1, 6):
        replies = [silo.train(state, orders(model, number)) for silo in silos]
        total = sum(reply.examples for reply in replies)
        state = {name: sum(r.state[name] * r.examples for r in replies) / total for name in state}
        losses.append(sum(silo.evaluate(state, orders(model, number)).loss for silo in silos))
    assert losses[-1] < losses[0]


@MODELS
def test_orders_of_linear_probing_and_of_a_proximal_term_are_followed(model_class):
    model = model_class(network())
    start, silo = copy_of(model), silo_of(model)

    def moved(**options):
        trained = silo.train(start, orders(model, **options)).state
        return {name: float((tensor - start[name]).abs().sum()) for name, tensor in trained.items()}

    free, held = moved(head_only=True), moved(head_only=True, proximal_mu=5.0)
    assert {name for name, distance in free.items() if distance} == set(model.head_state())
    assert 0 < sum(held.values()) < sum(free.values())
    assert moved()["1.weight"] > 0  # the orders are for their round only


def test_own_relus_are_for_the_round_that_orders_them():
    model = DualCopy(network())
    silo, state, fingerprint = silo_of(model), copy_of(model), model.fingerprint
    silo.evaluate(state, RoundOrders(1, own_relus=True))
    assert not model.gated
    silo.evaluate(state, RoundOrders(2, fingerprint))
    assert model.gated


def test_another_structure_and_another_network_are_refused():
    model = DualCopy(network())
    state = copy_of(model)
    with pytest.raises(ValueError, match=r"refuses: the server's structural fingerprint is 000000000000\.\.\."):
        silo_of(model).train(state, RoundOrders(1, "0" * 64))
    with pytest.raises(ValueError, match=r"quantitative state: missing \['4.bias'\]"):
        silo_of(model).train({n: t for n, t in state.items() if n != "4.bias"}, orders(model))


def test_local_batch_norm_needs_a_memory():
    with pytest.raises(ValueError, match="batch_norm='local' needs memory"):
        silo_of(QuantitativeCopy(network(), batch_norm="local"))


def test_a_silo_that_holds_nothing_out_says_so():
    model = QuantitativeCopy(network())
    none = tuple(part[:0] for part in samples(0))
    assert silo_of(model, held_out=none).evaluate(copy_of(model), orders(model)) == EvaluateReply(0.0, 0.0, 0)


@MODELS
def test_the_client_says_the_same_in_flowers_words(model_class):
    model, other = model_class(network()), model_class(network())
    start = copy_of(model)
    options = {"train": samples(1), "held_out": samples(2), "settings": SETTINGS, "seed": 3}
    client = FedSQClient(model, silo=1, **options)
    parameters = [tensor.numpy().copy() for tensor in start.values()]
    config = {"server-round": 2, "fingerprint": model.fingerprint}
    trained, examples, metrics = client.fit(parameters, config)
    reply = Silo(other, number=1, **options).train(start, orders(other))
    assert all((array == tensor.numpy()).all() for array, tensor in zip(trained, reply.state.values(), strict=True))
    assert (examples, metrics["train_loss"]) == (reply.examples, reply.loss)
    loss, examples, metrics = client.evaluate(trained, config)
    expected = Silo(other, number=1, **options).evaluate(reply.state, orders(other))
    assert EvaluateReply(loss, metrics["accuracy"], examples) == expected


def test_the_core_works_where_flower_cannot_be_imported():
    code = "import runpy, sys; sys.modules['flwr'] = None; runpy.run_path(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, silo_module.__file__], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
