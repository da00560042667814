"""A structure that comes up during the run: sent to each silo once, and the same for all of them."""

import re

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fedsq_flwr import DualCopy, FedSQ, QuantitativeCopy
from fedsq_flwr.data.federated import FederatedData
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.federation.arrays import to_arrays
from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.federation.protocol import count_bytes
from fedsq_flwr.federation.rounds import Round, run_rounds
from fedsq_flwr.federation.server_model import ServerModel
from fedsq_flwr.federation.structures import ContextStructures
from fedsq_flwr.gating.schedule import StructureSchedule
from tests.federation.silos import client_of, network, samples, silo_app


def server_model(model: QuantitativeCopy | None = None, **plan: int) -> ServerModel:
    images = LabelledImages(*samples(0))
    task = FederatedData(
        train=[], held_out=[], validation=images, test=images, class_names=("a", "b", "c"), indices=[], partition={}
    )
    return ServerModel(model or DualCopy(network()), task, torch.device("cpu"), schedule=StructureSchedule(**plan))


def strategy(model: ServerModel, fraction: float = 1.0, fraction_evaluate: float = 1.0) -> FedSQ:
    minimums = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 3}
    return FedSQ(
        FedAvg(fraction_train=fraction, fraction_evaluate=fraction_evaluate, **minimums),
        fingerprint=lambda _: model.fingerprint,
        structure=lambda _: model.structure_arrays(),
    )


def run(grid, model: ServerModel, federation: FedSQ, *, first: int = 1, last: int = 5) -> list[Round]:
    return list(
        run_rounds(
            federation,
            grid,
            model.arrays(),
            first=first,
            last=last,
            timeout=10,
            enter=model.enter,
            evaluate=model.evaluate,
        )
    )


def gates_app() -> ClientApp:
    return silo_app(lambda: DualCopy(network()))


def structure_of(arrays: ArrayRecord) -> str:
    """The fingerprint that the model ``arrays`` would have as a structure."""
    dual = DualCopy(network())
    dual.load_quantitative_state({name: torch.from_numpy(a.numpy()) for name, a in arrays.items()})
    dual.refresh_structure()
    return dual.fingerprint


@pytest.fixture
def distributed(monkeypatch, make_grid):
    """A grid, and a list of (node, bytes down, bytes up) for each structure that is distributed on it."""
    grid, seen = make_grid(gates_app(), silos=3), []
    carry = grid.send_and_receive

    def listen(messages, *, timeout=None):
        messages = list(messages)
        replies = list(carry(messages))
        for message, reply in zip(messages, replies, strict=True):
            if "structure" in message.content:
                seen.append((message.metadata.dst_node_id, count_bytes([message]), count_bytes([reply])))
        return replies

    monkeypatch.setattr(grid, "send_and_receive", listen)
    return grid, seen


@pytest.mark.parametrize("fraction", [1.0, 0.34])
def test_refreshed_the_structure_is_the_global_model_of_that_round_on_every_silo(make_grid, fraction):
    grid, model = make_grid(gates_app(), silos=3), server_model(refresh_every=2)
    rounds = run(grid, model, strategy(model, fraction))
    start = DualCopy(network()).fingerprint
    second, fourth = structure_of(rounds[1].arrays), structure_of(rounds[3].arrays)
    assert [r.fingerprint for r in rounds] == [start, start, second, second, fourth]
    assert len({start, second, fourth}) == 3
    for r in rounds:  # a silo with another structure would have refused
        assert r.training.dropped == r.evaluation.dropped == {}
        assert len(r.training.metrics) == (3 if fraction == 1 else 1)


def test_frozen_late_the_first_rounds_are_those_of_plain_averaging(make_grid):
    gated, plain = server_model(freeze_after=2), server_model(QuantitativeCopy(network()))
    late = run(make_grid(gates_app(), silos=3), gated, strategy(gated))
    average = run(make_grid(silo_app(lambda: QuantitativeCopy(network())), silos=3), plain, strategy(plain))
    same = [a.server == b.server and a.arrays == b.arrays for a, b in zip(late, average, strict=True)]
    assert same[:2] == [True, True]
    assert not any(same[2:])
    assert [r.fingerprint for r in late] == ["", "", *[structure_of(late[1].arrays)] * 3]


def test_released_the_first_rounds_are_those_under_fixed_gates_and_the_rest_have_their_own_relus(make_grid):
    released, kept = server_model(release_after=2), server_model()
    free = run(make_grid(gates_app(), silos=3), released, strategy(released))
    fixed = run(make_grid(gates_app(), silos=3), kept, strategy(kept))
    same = [a.server == b.server and a.arrays == b.arrays for a, b in zip(free, fixed, strict=True)]
    assert same[:2] == [True, True]
    assert not any(same[2:])
    assert [r.fingerprint != "" for r in free] == [True, True, False, False, False]
    # From there on it is plain averaging, started from that model.
    plain = server_model(QuantitativeCopy(network()))
    state = {name: torch.from_numpy(a.numpy()) for name, a in free[1].arrays.items()}
    plain.resume(2, state, None)
    after = run(make_grid(silo_app(lambda: QuantitativeCopy(network())), silos=3), plain, strategy(plain), first=3)
    assert [a.arrays == b.arrays and a.server == b.server for a, b in zip(free[2:], after, strict=True)] == [True] * 3


def test_from_each_checkpoint_a_run_goes_on_with_the_same_numbers(make_grid):
    """After rounds 1 to 4 of this plan, in turn: a freeze is due, nothing, a refresh, a release."""
    plan = {"freeze_after": 1, "refresh_every": 2, "release_after": 4}
    whole = server_model(**plan)
    federation = strategy(whole)
    kept, rounds = [], []
    whole_run = run_rounds(
        federation,
        make_grid(gates_app(), silos=3),
        whole.arrays(),
        first=1,
        last=5,
        timeout=10,
        enter=whole.enter,
        evaluate=whole.evaluate,
    )
    for finished in whole_run:
        structure = whole.structure()
        kept.append((whole.state(), None if structure is None else {n: t.clone() for n, t in structure.items()}))
        rounds.append(finished)
    assert [structure is not None for _, structure in kept] == [False, True, True, True, False]
    for stop, (state, structure) in enumerate(kept[:4], start=1):
        again = server_model(**plan)
        again.resume(stop, state, structure)
        resumed = run(make_grid(gates_app(), silos=3), again, strategy(again), first=stop + 1)
        for there, here in zip(rounds[stop:], resumed, strict=True):
            assert there.arrays == here.arrays
            assert (there.server, there.fingerprint) == (here.server, here.fingerprint)


def test_a_checkpoint_without_its_structure_is_not_gone_on_from():
    model = server_model(refresh_every=2)
    with pytest.raises(ValueError, match="round 4 needs the structure of round 2"):
        model.enter(4)


def test_each_silo_is_sent_a_structure_once_and_the_bytes_are_counted(distributed):
    grid, seen = distributed
    model = server_model(refresh_every=2)
    rounds = run(grid, model, strategy(model))
    nodes = list(grid.get_node_ids())
    assert [node for node, _, _ in seen] == [*nodes, *nodes]  # before rounds 3 and 5
    arrays = model.structure_arrays()
    assert all(down >= arrays.count_bytes() for _, down, _ in seen)
    usual = rounds[0]
    for r in rounds:
        down, up = (sum(column) for column in zip(*(s[1:] for s in seen[:3]), strict=True))
        extra = (down, up) if r.number in (3, 5) else (0, 0)
        assert (r.bytes_down - usual.bytes_down, r.bytes_up - usual.bytes_up) == extra


def test_only_silos_that_are_asked_are_sent_it_and_later_ones_get_it_then(distributed):
    grid, seen = distributed
    model = server_model(refresh_every=1)
    federation = strategy(model, 0.34, 0.34)
    rounds = run(grid, model, federation, last=6)
    assert all(not r.training.dropped and not r.evaluation.dropped for r in rounds)
    asked = [{*r.training.sampled, *r.evaluation.sampled} for r in rounds[1:]]
    assert len(seen) == sum(map(len, asked))
    assert any(len(silos) < 3 for silos in asked)


def test_a_silo_that_has_lost_the_structure_refuses_once_and_is_sent_it_again(distributed):
    grid, seen = distributed
    model = server_model(freeze_after=1)
    rounds = run_rounds(
        strategy(model), grid, model.arrays(), first=1, last=4, timeout=10, enter=model.enter, evaluate=model.evaluate
    )
    assert next(rounds).training.dropped == next(rounds).training.dropped == {}
    assert len(seen) == 3
    grid._client_app = gates_app()  # new processes; and a SuperNode that was started again has lost its context
    grid._contexts[1000].state = RecordDict()
    lost = next(rounds)
    assert list(lost.training.dropped) == [0]
    assert "refuses: the server's structural fingerprint" in lost.training.dropped[0]
    assert [node for node, _, _ in seen[3:]] == [1000]  # before the same round's evaluation
    assert lost.evaluation.dropped == next(rounds).training.dropped == {}
    assert len(seen) == 4


def test_without_a_plan_no_structure_is_ever_sent(distributed):
    grid, seen = distributed
    model = server_model()
    run(grid, model, strategy(model), last=2)
    assert seen == []
    assert not any(context.state for context in grid._contexts.values())


def test_a_silo_keeps_the_newest_structure_only(make_grid):
    grid, model = make_grid(gates_app(), silos=3), server_model(refresh_every=1)
    run(grid, model, strategy(model), last=4)
    for context in grid._contexts.values():
        assert list(context.state) == [f"structure-{model.fingerprint}"]


def test_a_model_that_another_silo_left_refreshed_serves_the_start_again():
    start, model = DualCopy(network()), DualCopy(network())
    with torch.no_grad():
        model.structural.get_submodule("1").weight.add_(1)
    client = client_of(model, 0, SiloMemory(Context(1, 1, {}, RecordDict(), {}), start))
    arrays = [tensor.numpy().copy() for tensor in model.quantitative_state().values()]
    client.evaluate(arrays, {"server-round": 1, "fingerprint": start.fingerprint})
    assert model.fingerprint == start.fingerprint


def test_own_relus_are_for_the_round_that_says_so():
    model = DualCopy(network())
    fingerprint, client = model.fingerprint, client_of(model, 0)
    arrays = [tensor.numpy().copy() for tensor in model.quantitative_state().values()]
    client.evaluate(arrays, {"server-round": 1, "own-relus": True})
    assert not model.gated
    client.evaluate(arrays, {"server-round": 2, "fingerprint": fingerprint})
    assert model.gated
    with pytest.raises(ValueError, match=r"is none \(no fixed gates\)"):
        client.evaluate(arrays, {"server-round": 3})


def test_a_structure_that_is_not_what_it_is_called_is_refused():
    start, model = DualCopy(network()), DualCopy(network())
    context = Context(1, 1, {}, RecordDict(), {})
    forged = {name: tensor + 1 for name, tensor in start.structural_state().items()}
    ContextStructures(context).keep("0" * 64, forged)
    client = client_of(model, 0, SiloMemory(context, start))
    arrays = [tensor.numpy().copy() for tensor in model.quantitative_state().values()]
    with pytest.raises(ValueError, match=re.escape("the server's structural fingerprint is 000000000000...")):
        client.evaluate(arrays, {"server-round": 1, "fingerprint": "0" * 64})


def test_rounds_say_own_relus_only_where_a_function_does(make_grid):
    grid, arrays = make_grid(gates_app(), silos=3), ArrayRecord({})
    inner = {"min_train_nodes": 1, "min_available_nodes": 3}
    for fingerprint, word in (("", None), (lambda _: "", True), (lambda _: "f" * 64, None)):
        federation = FedSQ(FedAvg(**inner), fingerprint=fingerprint)
        messages: list[Message] = list(federation.configure_train(1, arrays, ConfigRecord(), grid))
        assert [message.content["config"].get("own-relus") for message in messages] == [word] * 3


def test_numbers_survive_the_way_to_arrays_and_back():
    tensors = {"a": torch.tensor(3), "b": torch.randn(2, 0), "c": torch.tensor([float("nan"), -0.0])}
    from fedsq_flwr.federation.arrays import to_state

    back = to_state(to_arrays(tensors))
    assert list(back) == list(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert np.array_equal(back[name].numpy().tobytes(), tensor.numpy().tobytes())
