"""FedBN (Li et al., 2021): each silo keeps its batch norm to itself, all else is averaged."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, RecordDict
from flwr.serverapp.strategy import FedAvg
from torch import Tensor

from fedsq_flwr import DualCopy, FedSQ, QuantitativeCopy
from fedsq_flwr.federation.arrays import to_arrays, to_state
from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.learning import derive_seed, evaluate, train_locally
from tests.federation.silos import SETTINGS, client_of, network, samples, silo_app

MODELS = pytest.mark.parametrize("model_class", [DualCopy, QuantitativeCopy])


def local(model_class: type) -> QuantitativeCopy:
    return model_class(network(), batch_norm="local")


def strategy(model: QuantitativeCopy, silos: int = 3, fraction: float = 1.0) -> FedSQ:
    inner = FedAvg(fraction_train=fraction, min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=silos)
    return FedSQ(inner, fingerprint=model.fingerprint)


def one_round(federation: FedSQ, grid, arrays: ArrayRecord, number: int) -> ArrayRecord:
    replies = grid.send_and_receive(federation.configure_train(number, arrays, ConfigRecord(), grid))
    averaged, _ = federation.aggregate_train(number, replies)
    answers = grid.send_and_receive(federation.configure_evaluate(number, averaged, ConfigRecord(), grid))
    federation.aggregate_evaluate(number, answers)
    return averaged


def copy_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


@MODELS
@pytest.mark.parametrize("fraction", [1.0, 0.67])
def test_the_federation_is_fedbn_written_out_by_hand(make_grid, model_class: type, fraction: float) -> None:
    grid, model = make_grid(silo_app(lambda: local(model_class)), silos=3), local(model_class)
    federation, arrays = strategy(model, fraction=fraction), to_arrays(model.quantitative_state())
    by_hand = {silo: local(model_class) for silo in range(3)}
    trained: list[list[int]] = []
    for number in (1, 2, 3, 4):
        arrays, before = one_round(federation, grid, arrays, number), to_state(arrays)
        trained.append(federation.training.sampled)
        total: dict[str, Tensor] = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
        counts = [len(samples(silo)[1]) for silo in trained[-1]]
        for silo, count in zip(trained[-1], counts, strict=True):
            own = by_hand[silo]
            own.load_quantitative_state(before)  # all but batch norm, which stays as the silo left it
            train_locally(own, *samples(silo), SETTINGS, seed=derive_seed(0, "train", number, silo))
            for name, tensor in own.quantitative_state().items():
                total[name] += tensor * count / sum(counts)
        for name, tensor in total.items():
            torch.testing.assert_close(to_state(arrays)[name], tensor)
        for silo, own in by_hand.items():
            own.load_quantitative_state(to_state(arrays))
            accuracy = evaluate(own, *samples(silo)).accuracy
            assert federation.evaluation.metrics[silo]["accuracy"] == pytest.approx(accuracy)
    if fraction < 1:  # else it does not test what a silo keeps over rounds in which it rests
        assert all(len(silos) == 2 for silos in trained)
        assert len(set(map(tuple, trained))) > 1


@MODELS
def test_no_array_of_batch_norm_is_in_any_message(make_grid, monkeypatch, model_class: type) -> None:
    grid, model = make_grid(silo_app(lambda: local(model_class)), silos=3), local(model_class)
    names, carry = set(), grid.send_and_receive

    def listen(messages, *, timeout=None):
        messages = list(messages)
        replies = list(carry(messages))
        for message in [*messages, *replies]:
            names.update(name for record in message.content.array_records.values() for name in record)
        return replies

    monkeypatch.setattr(grid, "send_and_receive", listen)
    one_round(strategy(model), grid, to_arrays(model.quantitative_state()), 1)
    assert names == {"1.weight", "1.bias", "4.weight", "4.bias"}


@MODELS
def test_a_silo_that_joins_late_starts_from_the_starts_batch_norm(make_grid, model_class: type) -> None:
    """The model that serves it has been another silo's before; nothing of that is left."""
    grid, model = make_grid(silo_app(lambda: local(model_class)), silos=3), local(model_class)
    everyone = list(grid.get_node_ids())
    grid.get_node_ids = lambda: everyone[:2]
    federation = strategy(model, silos=2)
    arrays = one_round(federation, grid, to_arrays(model.quantitative_state()), 1)
    grid.get_node_ids = lambda: everyone
    before = to_state(arrays)
    replies = grid.send_and_receive(federation.configure_train(2, arrays, ConfigRecord(), grid))
    late = next(reply for reply in replies if reply.metadata.src_node_id == everyone[2])

    alone = local(model_class)
    alone.load_quantitative_state(before)
    train_locally(alone, *samples(2), SETTINGS, seed=derive_seed(0, "train", 2, 2))
    for name, tensor in to_state(late.content["arrays"]).items():
        assert torch.equal(tensor, alone.quantitative_state()[name])


@MODELS
def test_another_run_does_not_find_it(model_class: type) -> None:
    model, start = local(model_class), local(model_class)
    first, second = (Context(run, 1, {}, RecordDict(), {}) for run in (1, 2))
    second.state = first.state  # worse than any runtime of Flower, which keeps a context for each run
    train_locally(model, *samples(1), SETTINGS, seed=0)
    kept = copy_of(model.local_state())
    SiloMemory(first, start).keep_local(model)

    SiloMemory(second, start).load_local(model)
    assert all(torch.equal(tensor, start.local_state()[name]) for name, tensor in model.local_state().items())
    SiloMemory(first, start).load_local(model)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.local_state().items())


def test_a_batch_norm_that_is_not_finite_is_not_kept() -> None:
    model, start = local(QuantitativeCopy), local(QuantitativeCopy)
    context = Context(1, 1, {}, RecordDict(), {})
    client = client_of(model, 0, SiloMemory(context, start))
    arrays = [np.full(t.shape, 1e30, np.float32) for t in model.quantitative_state().values()]
    with pytest.raises(ValueError, match=r"the silo's own '2\..*' is not finite after training"):
        client.fit(arrays, {"server-round": 1})
    assert not context.state


def test_other_policies_keep_nothing(make_grid) -> None:
    model = QuantitativeCopy(network())
    grid = make_grid(silo_app(lambda: QuantitativeCopy(network())), silos=3)
    one_round(strategy(model), grid, to_arrays(model.quantitative_state()), 1)
    assert not any(context.state for context in grid._contexts.values())


@MODELS
def test_a_client_without_a_memory_for_it_is_refused(model_class: type) -> None:
    with pytest.raises(ValueError, match=r"batch_norm='local' needs memory=SiloMemory"):
        client_of(local(model_class), 0)
