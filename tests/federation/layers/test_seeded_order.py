"""The same seed gives the same numbers, whatever ids nodes have and in whatever order replies arrive."""

import random

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg

from fedsq_flwr import FedSQ
from fedsq_flwr.federation.layers import SeededOrder
from fedsq_flwr.federation.registry import NodeRegistry
from tests.federation.grids import Meddling, Shuffled, of_node_gone, silo_of
from tests.federation.loops import everywhere
from tests.federation.toys import sampling, toy_app


def alone(silos=8, fraction=1.0, seed=0):
    return SeededOrder(FedAvg(**sampling(silos, fraction)), NodeRegistry(), seed)


def whole(silos=8, fraction=1.0, seed=0):
    return FedSQ(FedAvg(**sampling(silos, fraction)), seed=seed)


def noisy():
    """Silos that answer with noise of their own: sums of it differ with their order."""
    noise = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)

    def spoil(silo, content):
        if content.array_records:
            content["arrays"]["b"] = Array(noise[silo])

    return toy_app(spoil)


ORDERS = {
    "as sent": lambda exchange: exchange,
    "backwards": lambda exchange: exchange[::-1],
    "some later": lambda exchange: exchange[3:] + exchange[:3],
}


@everywhere(alone, whole)
def test_neither_the_order_of_nodes_nor_that_of_arrival_changes_a_bit(make_grid, arrays, make, loop):
    bits = set()
    for view in (lambda grid: grid, Shuffled):
        for order in ORDERS.values():
            grid = view(make_grid(noisy(), silos=8))
            arriving = Meddling(grid, lambda exchange, order=order: [reply for _, reply in order(exchange)])
            bits.add(loop(make(), arriving, arrays)["b"].numpy().tobytes())
    assert len(bits) == 1


def test_without_it_they_do(make_grid, arrays):
    """Otherwise the test above shows nothing."""
    bits = set()
    for order in ORDERS.values():
        grid = Meddling(make_grid(noisy(), silos=8), lambda exchange, order=order: [r for _, r in order(exchange)])
        random.seed(0)
        bits.add(FedAvg(**sampling(8)).start(grid, arrays, num_rounds=1).arrays["b"].numpy().tobytes())
    assert len(bits) > 1


@everywhere(alone, whole)
def test_sampling_is_seeded_and_differs_from_round_to_round(make_grid, arrays, make, loop):
    def rounds(seed):
        chosen = {number: [] for number in range(1, 6)}

        def note(silo, content):
            if content.array_records:
                chosen[content["config"]["server-round"]].append(silo)

        random.seed()  # what the program around does with the global generator must not matter
        loop(make(10, 0.3, seed), Shuffled(make_grid(toy_app(note), silos=10)), arrays, 5)
        assert all(silos == sorted(silos) and len(silos) == 3 for silos in chosen.values())
        return [tuple(silos) for silos in chosen.values()]

    assert rounds(0) == rounds(0)
    assert rounds(0) != rounds(1)
    assert len(set(rounds(0))) > 1


@pytest.mark.parametrize("make", [alone, whole])
def test_a_resumed_run_samples_as_an_uninterrupted_one(make_grid, arrays, make):
    grid = make_grid(toy_app(), silos=10)

    def samples(rounds):
        strategy = make(10, 0.3)
        configured = (strategy.configure_train(number, arrays, ConfigRecord(), grid) for number in rounds)
        return [[silo_of(message) for message in messages] for messages in configured]

    assert samples(range(3, 6)) == samples(range(1, 6))[2:]


@pytest.mark.parametrize("make", [alone, whole])
def test_the_global_random_state_is_left_as_it_was(make_grid, arrays, make):
    grid = make_grid(toy_app())
    random.seed(123)
    before = random.getstate()
    list(make(4, 0.5).configure_train(1, arrays, ConfigRecord(), grid))
    assert random.getstate() == before


class Taking(FedAvg):
    """A strategy that takes one reply at a time, and notes whose they are."""

    def begin(self, kind, server_round):
        self.taken = []

    def add(self, reply):
        self.taken.append(reply.metadata.src_node_id - 1000)

    def finish(self):
        return ArrayRecord({}), None


@pytest.fixture
def taking(make_grid, arrays):
    """A layer around `Taking` that has been asked to begin, and the exchange that it takes the replies of."""
    inner, grid = Taking(**sampling()), make_grid(toy_app())
    layer = SeededOrder(inner, NodeRegistry())
    messages = list(layer.configure_train(1, arrays, ConfigRecord(), grid))
    replies = list(grid.send_and_receive(messages))
    layer.begin("train", 1)
    return layer, inner, messages, replies


def test_a_reply_is_passed_on_when_its_turn_has_come(taking):
    layer, inner, _, replies = taking
    passed = []
    for silo in (1, 0, 3, 2):
        layer.add(replies[silo])
        passed.append(list(inner.taken))
    assert passed == [[], [0, 1], [0, 1], [0, 1, 2, 3]]
    layer.finish()
    assert inner.taken == [0, 1, 2, 3]


def test_those_that_wait_for_one_that_never_comes_are_passed_on_at_the_end(taking):
    layer, inner, _, replies = taking
    for silo in (3, 2, 0):
        layer.add(replies[silo])
    assert inner.taken == [0]
    layer.finish()
    assert inner.taken == [0, 2, 3]


def test_the_servers_word_for_a_node_that_went_away_has_that_nodes_turn(taking):
    layer, inner, messages, replies = taking
    layer.add(of_node_gone(messages[0]))
    layer.add(replies[2])
    layer.add(replies[1])
    assert inner.taken == [1 - 1000, 1, 2]


def test_what_answers_nothing_or_a_second_time_is_not_held_back(taking):
    layer, inner, _, replies = taking
    layer.add(replies[2])
    layer.add(replies[2])
    assert inner.taken == [2]
    stray = replies[3]
    stray.metadata.__dict__["_reply_to_message_id"] = "of another run"
    layer.add(stray)
    assert inner.taken == [2, 3]
