"""Replies are averaged as they come, where the strategy does no more than that."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedMedian, FedProx, Strategy

from fedsq_flwr.federation.layers.one_at_a_time import AllAtOnce, MeanOfReplies, WeightedSum, one_at_a_time


class Own(FedAvg):
    """May look at each reply."""


def replies(count: int = 5) -> list[Message]:
    generator = np.random.default_rng(0)
    made = []
    for silo in range(count):
        arrays = ArrayRecord(
            {
                "w": Array(generator.normal(size=(4, 3)).astype(np.float32)),
                "half": Array(generator.normal(size=3).astype(np.float16)),
                "n": Array(generator.integers(0, 9, (2,))),
            }
        )
        metrics = MetricRecord({"num-examples": 10 * silo + 1, "loss": float(silo), "each": [float(silo), 1.0]})
        asked = Message(RecordDict(), dst_node_id=silo + 1, message_type="train")
        made.append(Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=asked))
    return made


def aggregated(takes: AllAtOnce, messages: list[Message]):
    takes.begin("train", 1)
    for message in messages:
        takes.add(message)
    return takes.finish()


@pytest.mark.parametrize("make", [FedAvg, lambda: FedProx(proximal_mu=0.1), FedAvgM, FedAdam])
def test_what_only_averages_is_given_the_mean(make) -> None:
    assert type(one_at_a_time(make())) is MeanOfReplies


@pytest.mark.parametrize("strategy", [FedMedian(), Own(), FedAvg(train_metrics_aggr_fn=lambda *_: MetricRecord())])
def test_what_may_look_at_each_reply_is_given_all(strategy: Strategy) -> None:
    assert type(one_at_a_time(strategy)) is AllAtOnce


def test_the_mean_is_flowers_but_for_rounding_and_so_are_the_metrics() -> None:
    messages = replies()
    before = [array.data for message in messages for array in message.content["arrays"].values()]
    ours, our_metrics = aggregated(MeanOfReplies(FedAvg()), messages)
    theirs, their_metrics = aggregated(AllAtOnce(FedAvg()), messages)
    assert ours is not None and theirs is not None
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        tolerance = 1e-3 if name == "half" else 1e-6
        np.testing.assert_allclose(ours[name].numpy(), array.numpy(), rtol=tolerance, atol=tolerance)
    assert our_metrics == their_metrics
    assert [array.data for message in messages for array in message.content["arrays"].values()] == before


def test_nothing_is_left_of_an_exchange_that_was_not_finished() -> None:
    takes, messages = MeanOfReplies(FedAvg()), replies()
    takes.begin("train", 1)
    takes.add(messages[0])
    once, _ = aggregated(takes, messages[1:])
    fresh, _ = aggregated(MeanOfReplies(FedAvg()), messages[1:])
    assert once is not None and fresh is not None
    assert all(once[name].data == fresh[name].data for name in fresh)


def test_the_sum_holds_one_array_however_many_are_added() -> None:
    total = WeightedSum()
    for message in replies(50):
        total.add(message.content["arrays"], 2)
    assert total.weight == 100
    assert total.mean()["w"].shape == (4, 3)
