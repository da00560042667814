"""The wire: what is packed comes out as it went in, is counted as it travelled, and is checked."""

import re
import time
from collections import Counter

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message
from flwr.serverapp.strategy import FedAvg

from fedsq_flwr import DualCopy, FedSQ
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.arrays import to_arrays, to_state
from fedsq_flwr.federation.packing import FORMAT, PACKED, is_packed, pack, unpack
from fedsq_flwr.federation.protocol import count_bytes
from fedsq_flwr.federation.rounds import run_rounds
from fedsq_flwr.federation.waiting import ALL
from fedsq_flwr.federation.wire import Wire
from tests.federation.grids import losing
from tests.federation.silos import client_of, network, silo_app
from tests.federation.toys import FINGERPRINT, toy_app


def federation(fingerprint: str = FINGERPRINT) -> FedSQ:
    return FedSQ(FedAvg(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=3), fingerprint=fingerprint)


def gated_run(grid, dtype, rounds=2):
    model = DualCopy(network())
    start = to_arrays(model.quantitative_state())
    wire = Wire(grid, dtype=dtype)
    finished = list(
        run_rounds(
            federation(model.fingerprint),
            wire,
            start,
            first=1,
            last=rounds,
            timeout=10,
            enter=lambda _: None,
            evaluate=lambda _: {},
        )
    )
    return to_state(finished[-1].arrays), finished


def gates_app():
    return silo_app(lambda: DualCopy(network()))


class Overheard(Wire):
    """A wire that remembers what went through the grid below it, and how much that was."""

    def __init__(self, grid, **options):
        super().__init__(grid, **options)
        self.down, self.up, self.held = [], [], (0, 0)

    def _exchange(self, messages, timeout):
        self.down += messages
        replies = list(super()._exchange(messages, timeout))
        self.up += replies
        self.held = count_bytes(messages), count_bytes(replies)
        return replies


def test_packed_in_float32_a_run_has_the_same_numbers_to_the_bit(make_grid):
    plain, rounds = gated_run(make_grid(gates_app(), silos=3), None)
    packed, packed_rounds = gated_run(make_grid(gates_app(), silos=3), "float32")
    assert all(torch.equal(plain[name], packed[name]) for name in plain)
    assert [r.evaluation.metrics for r in rounds] == [r.evaluation.metrics for r in packed_rounds]


@pytest.mark.parametrize(("dtype", "unit"), [("float16", 2.0**-11), ("bfloat16", 2.0**-8)])
def test_what_rounding_does_to_a_reply_is_relative_to_what_was_learnt(make_grid, dtype, unit):
    """The silos start from rounded weights, which is seen by none of this: their step is what is compared."""
    grid, sent = make_grid(gates_app(), silos=3), DualCopy(network()).quantitative_state()
    strategy = federation(DualCopy(network()).fingerprint)
    wire = Overheard(grid, dtype=dtype)
    messages = list(strategy.configure_train(1, to_arrays(sent), ConfigRecord(), wire))
    wire.down.clear()
    wire.up.clear()
    replies = list(wire.send_and_receive(messages))
    rounded_start = unpack(wire.down[0].content["arrays"])
    assert any(not torch.equal(rounded_start[name], sent[name]) for name in sent)
    for silo, reply in enumerate(replies):
        exact = silo_app_step(silo, rounded_start)
        for name, tensor in to_state(reply.content["arrays"]).items():
            step = exact[name] - rounded_start[name]
            error = (tensor.double() - (sent[name].double() + step.double())).abs()
            # Half a unit of the step, and float32's own rounding of the sum.
            allowed = unit * step.abs().double() + 2.0**-24 * 2 * tensor.abs().double() + 1e-7
            assert bool((error <= allowed).all()), name


def silo_app_step(silo, start):
    """What silo ``silo`` learns from ``start``, by the client itself."""
    client = client_of(DualCopy(network()), silo)
    names = list(client.model.quantitative_state())
    config = {"server-round": 1, "fingerprint": client.model.fingerprint}
    trained, _, _ = client.fit([start[name].numpy().copy() for name in names], config)
    return {name: torch.from_numpy(array) for name, array in zip(names, trained, strict=True)}


def test_the_global_model_itself_is_never_rounded(make_grid):
    """With nothing learnt, averaging rounded replies leaves the unrounded weights as they are."""
    arrays = ArrayRecord({"w": Array(np.float32([[1 / 3, 1e-3, 7.7]])), "b": Array(np.zeros(1, np.float32))})
    still = packing_app(lambda silo, content: content.__setitem__("arrays", zero_step(content["arrays"])))
    wire = Wire(make_grid(still, silos=3), dtype="bfloat16")
    strategy = federation()
    messages = list(strategy.configure_train(1, arrays, ConfigRecord(), wire))
    averaged, _ = strategy.aggregate_train(1, wire.send_and_receive(messages))
    np.testing.assert_allclose(averaged["w"].numpy(), arrays["w"].numpy(), rtol=1e-6)


def zero_step(record):
    return pack({"w": torch.zeros(1, 3), "b": torch.zeros(1)}, "bfloat16")


def test_bytes_are_counted_as_they_travel(make_grid):
    for dtype, share in ((None, 1.0), ("float32", 1.0), ("float16", 0.5)):
        wire = Overheard(make_grid(gates_app(), silos=3), dtype=dtype)
        start = to_arrays(DualCopy(network()).quantitative_state())
        messages = list(federation(DualCopy(network()).fingerprint).configure_train(1, start, ConfigRecord(), wire))
        before = wire.bytes_down, wire.bytes_up
        wire.down.clear()
        list(wire.send_and_receive(messages))
        assert (wire.bytes_down - before[0], wire.bytes_up - before[1]) == wire.held
        values = sum(array.numpy().nbytes for array in start.values())
        assert min(wire.held) >= 3 * share * values
        assert all(is_packed(message.content["arrays"]) is (dtype is not None) for message in wire.down)


def test_the_strategys_own_messages_have_the_ids_of_those_that_travel(make_grid):
    """By these ids replies are matched, and a packed message is another one than the strategy's."""
    wire = Wire(make_grid(gates_app(), silos=3), dtype="float32")
    start = to_arrays(DualCopy(network()).quantitative_state())
    messages = list(federation(DualCopy(network()).fingerprint).configure_train(1, start, ConfigRecord(), wire))
    replies = list(wire.send_and_receive(messages))
    ids = [message.metadata.message_id for message in messages]
    assert len(set(ids)) == 3
    assert "" not in ids
    assert [reply.metadata.reply_to_message_id for reply in replies] == ids


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
@pytest.mark.parametrize("told", [True, False])
def test_a_node_that_is_lost_in_mid_round_costs_one_reply_on_every_wire(make_grid, dtype, told):
    _, (first, second) = gated_run(losing(make_grid(gates_app(), silos=3), 1, told=told), dtype)
    reason = "has left, or cannot be reached" if told else "did not answer in time"
    assert first.training.dropped == second.training.dropped == {1: reason}
    assert first.evaluation.dropped == second.evaluation.dropped == {}
    assert sorted(first.training.metrics) == [0, 2]


def test_a_record_that_goes_to_all_silos_is_packed_once(make_grid):
    wire = Overheard(make_grid(gates_app(), silos=3), dtype="float32")
    start = to_arrays(DualCopy(network()).quantitative_state())
    messages = list(federation(DualCopy(network()).fingerprint).configure_train(1, start, ConfigRecord(), wire))
    wire.down.clear()
    list(wire.send_and_receive(messages))
    assert len({id(message.content["arrays"]) for message in wire.down}) == 1
    assert not any(is_packed(message.content["arrays"]) for message in messages)  # the strategy's own stay


def test_weights_that_do_not_fit_the_wire_end_the_run_with_their_name(make_grid):
    arrays = ArrayRecord({"w": Array(np.float32([7e4]))})
    wire = Wire(make_grid(toy_app(), silos=3), dtype="float16")
    messages = list(federation().configure_train(1, arrays, ConfigRecord(), wire))
    with pytest.raises(RunFailedError, match=r"wire_dtype=float16: array 'w' holds values up to 7e\+04"):
        list(wire.send_and_receive(messages))


def relabelled(record, dtype, shape=None, data=b""):
    array = record[PACKED]
    array.dtype, array.shape = dtype, shape or array.shape
    if data is None:
        array.data = None
    return record


ODD = {
    "another form": (
        lambda content: content.__setitem__("arrays", pack({"w": torch.zeros(2, 3), "b": torch.zeros(3)}, "float16")),
        "does not answer in the form that it was asked in",
    ),
    "no form at all": (lambda content: None, "does not answer in the form that it was asked in"),
    "too many bytes": (
        lambda content: content.__setitem__("arrays", pack({"w": torch.zeros(10_000), "b": torch.zeros(3)})),
        r"sends 40,\d\d\d bytes of arrays where 1,\d\d\d are the most that is expected",
    ),
    "damaged bytes": (
        lambda content: content.__setitem__(
            "arrays", ArrayRecord({PACKED: Array("float32", (9,), FORMAT, b"\xff" * 64)})
        ),
        "packed arrays cannot be read",
    ),
    "another dtype inside": (
        lambda content: content.__setitem__(
            "arrays", relabelled(pack({"w": torch.zeros(2, 3), "b": torch.zeros(3)}, "float16"), "float32")
        ),
        "array '[wb]' travels as float16, not float32",
    ),
    "another number of values than it says": (
        lambda content: content.__setitem__(
            "arrays", relabelled(pack({"w": torch.zeros(2, 3), "b": torch.zeros(3)}), "float32", (10**15,))
        ),
        "packed arrays hold 9 values, and say otherwise",
    ),
    "no bytes": (
        lambda content: content.__setitem__("arrays", relabelled(pack({"w": torch.zeros(1)}), "float32", data=None)),
        r"cannot be read \(TypeError: object of type 'NoneType' has no len\(\)\)",
    ),
    "two records, one of them not packed": (
        lambda content: (
            content.__setitem__("arrays", pack({"w": torch.zeros(2, 3), "b": torch.zeros(3)})),
            content.__setitem__("more", ArrayRecord({"x": Array(np.zeros(1))})),
        ),
        "does not answer in the form that it was asked in",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_reply_in_another_form_or_of_another_size_is_dropped_by_name(make_grid, arrays, kind):
    change, reason = ODD[kind]

    def spoil(silo, content):
        if silo == 1:
            change(content)
        else:
            content["arrays"] = pack(to_state(content["arrays"]))

    wire = Wire(make_grid(packing_app(spoil), silos=3), dtype="float32")
    strategy = federation()
    messages = list(strategy.configure_train(1, arrays, ConfigRecord(), wire))
    strategy.aggregate_train(1, wire.send_and_receive(messages))
    assert sorted(strategy.training.metrics) == [0, 2]
    assert list(strategy.training.dropped) == [1]
    assert re.search(reason, strategy.training.dropped[1])


def packing_app(spoil):
    """The toy app, which unpacks what it is sent before it adds its number."""
    app = toy_app(spoil)
    inner = app._registered_funcs["train.default"]

    def train(message, context):
        message.content["arrays"] = to_arrays(unpack(message.content["arrays"]))
        return inner(message, context)

    app._registered_funcs["train.default"] = train
    return app


class Answers:
    """A grid over a network: the reply to each message, by its number, is there at the n-th look for it, or never."""

    def __init__(self, looks):
        self.looks, self.pulls = dict(enumerate(looks)), Counter()

    def push_messages(self, messages):
        self.sent = list(messages)
        for number, message in enumerate(self.sent):
            message.metadata.__dict__["_message_id"] = f"id{number}"
        return [message.metadata.message_id for message in self.sent]

    def pull_messages(self, ids):
        (number,) = (int(name.removeprefix("id")) for name in ids)
        self.pulls[number] += 1
        return [self.reply(number)] if self.pulls[number] == self.looks.get(number) else []

    def reply(self, number):
        return Message(self.sent[number].content, reply_to=self.sent[number])


def messages(make_grid, arrays):
    return list(federation().configure_train(1, arrays, ConfigRecord(), make_grid(toy_app(), silos=3)))


def test_over_a_network_replies_are_looked_for_until_all_are_there(make_grid, arrays):
    grid = Answers([4, 2, 5])
    started = time.monotonic()
    replies = list(Wire(grid, poll=0.01, patience=ALL).send_and_receive(messages(make_grid, arrays), timeout=60))
    assert grid.pulls == {0: 4, 1: 2, 2: 5}
    assert sorted(reply.metadata.reply_to_message_id for reply in replies) == ["id0", "id1", "id2"]
    assert time.monotonic() - started < 50


def test_over_a_network_the_wait_ends_with_the_timeout(make_grid, arrays):
    grid = Answers([None, 1, None])
    replies = list(Wire(grid, poll=0.01, patience=ALL).send_and_receive(messages(make_grid, arrays), timeout=0.1))
    assert [reply.metadata.reply_to_message_id for reply in replies] == ["id1"]


def test_a_second_answer_and_an_answer_to_nothing_are_left_out(make_grid, arrays, caplog):
    class Twice(Answers):
        def pull_messages(self, ids):
            found = super().pull_messages(ids)
            stray = self.reply(0)
            stray.metadata.__dict__["_reply_to_message_id"] = "of another run"
            return [*found, *found, stray] if ids == ["id0"] else found

    replies = list(
        Wire(Twice([1, 1, 1]), poll=0.01, patience=ALL).send_and_receive(messages(make_grid, arrays), timeout=5)
    )
    assert sorted(reply.metadata.reply_to_message_id for reply in replies) == ["id0", "id1", "id2"]
    assert caplog.text.count("answered what it was not asked, or twice") == 2


def test_a_reply_that_another_node_sent_is_dropped_and_named_after_the_silo_that_was_asked(make_grid, arrays):
    class Forged(Answers):
        def reply(self, number):
            reply = super().reply(number)
            if number == 1:
                reply.metadata.__dict__["_src_node_id"] = 666
            return reply

    sent = messages(make_grid, arrays)
    replies = list(Wire(Forged([1, 2, 3]), poll=0.01, patience=ALL).send_and_receive(sent, timeout=5))
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert replies[1].metadata.src_node_id == sent[1].metadata.dst_node_id
    assert "was answered for by node 666" in replies[1].error.reason
