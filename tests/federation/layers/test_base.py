"""A layer by itself passes everything on, one reply at a time or all at once."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg, FedMedian

from fedsq_flwr.federation.layers import Layer
from tests.federation.loops import flowers_loop
from tests.federation.toys import mean_of, sampling, toy_app


def test_flowers_loop_gives_the_same_with_any_number_of_layers(make_grid, arrays):
    plain = flowers_loop(FedAvg(**sampling()), make_grid(toy_app()), arrays, 2)
    layered = flowers_loop(Layer(Layer(FedAvg(**sampling()))), make_grid(toy_app()), arrays, 2)
    np.testing.assert_allclose(layered["w"].numpy(), plain["w"].numpy(), rtol=1e-6)  # the order of nodes is sampled
    np.testing.assert_allclose(layered["w"].numpy(), np.full((2, 3), 2 * mean_of(0, 1, 2, 3)), rtol=1e-6)


class RunningMean(FedAvg):
    """A strategy at the bottom that sums replies as they come, and holds none of them."""

    def begin(self, kind, server_round):
        self.total, self.weight, self.kind = {}, 0, kind

    def add(self, reply):
        weight = reply.content["metrics"]["num-examples"]
        self.weight += weight
        for name, array in reply.content.get("arrays", {}).items():
            self.total[name] = self.total.get(name, 0) + weight * array.numpy().astype(np.float64)

    def finish(self):
        mean = {name: Array(total / self.weight) for name, total in self.total.items()}
        return (ArrayRecord(mean), None) if self.kind == "train" else (None, None)


def test_a_strategy_that_takes_one_reply_at_a_time_is_given_them_so(make_grid, arrays):
    inner, grid = RunningMean(**sampling()), make_grid(toy_app())
    layer = Layer(Layer(inner))
    replies = list(grid.send_and_receive(layer.configure_train(1, arrays, ConfigRecord(), grid)))
    layer.begin("train", 1)
    for count, reply in enumerate(replies, start=1):
        layer.add(reply)
        assert inner.weight == sum(r.content["metrics"]["num-examples"] for r in replies[:count])
    averaged, _ = layer.finish()
    np.testing.assert_allclose(averaged["w"].numpy(), np.full((2, 3), mean_of(0, 1, 2, 3)))
    np.testing.assert_allclose(
        flowers_loop(layer, grid, arrays, 2)["w"].numpy(), np.full((2, 3), 2 * mean_of(0, 1, 2, 3))
    )


def test_a_strategy_that_empties_replies_is_given_copies(make_grid, arrays):
    grid, layer = make_grid(toy_app()), Layer(FedMedian(**sampling()))
    replies = list(grid.send_and_receive(layer.configure_train(1, arrays, ConfigRecord(), grid)))
    averaged, _ = layer.aggregate_train(1, replies)
    np.testing.assert_array_equal(averaged["w"].numpy(), np.full((2, 3), 1.5, np.float32))
    assert all(list(reply.content["arrays"]) == ["w", "b"] for reply in replies)


def test_an_exchange_that_was_not_finished_leaves_nothing_to_the_next(make_grid, arrays):
    grid, layer = make_grid(toy_app()), Layer(FedAvg(**sampling()))
    replies = list(grid.send_and_receive(layer.configure_train(1, arrays, ConfigRecord(), grid)))
    layer.begin("train", 1)
    layer.add(replies[0])
    layer.begin("train", 1)
    for reply in replies[1:]:
        layer.add(reply)
    by_rest = Layer(FedAvg(**sampling())).aggregate_train(1, replies[1:])
    assert layer.finish() == by_rest


def test_it_knows_the_strategy_below_all_layers_and_what_it_weights_by():
    bottom = FedAvg(weighted_by_key="images")
    assert Layer(Layer(bottom)).bottom is bottom
    assert Layer(Layer(bottom)).weight_key == "images"


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_messages_are_those_of_the_inner_strategy(make_grid, arrays, kind):
    grid, layer = make_grid(toy_app()), Layer(FedAvg(**sampling()))
    configure = layer.configure_train if kind == "train" else layer.configure_evaluate
    messages = configure(3, arrays, ConfigRecord({"mine": 1}), grid)
    assert [message.metadata.message_type for message in messages] == [kind] * 4
    assert layer.messages[kind] is messages
    assert messages[0].content["config"]["mine"] == 1
