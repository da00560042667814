"""What comes out of a round is a model like the one that went in, or the run ends."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg

from fedsq_flwr import FedSQ
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.layers import ModelCheck
from tests.federation.loops import everywhere
from tests.federation.toys import mean_of, sampling, toy_app


class Spoiling(FedAvg):
    """FedAvg, but for what ``spoil`` does to the average."""

    def __init__(self, spoil):
        super().__init__(**sampling())
        self.spoil = spoil

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        return self.spoil(arrays), metrics


def whole(inner):
    return FedSQ(inner)


NO_MODELS = [
    (lambda arrays: None, "returned no model"),
    (lambda arrays: ArrayRecord({"w": arrays["w"]}), "changed names or shapes"),
    (lambda arrays: ArrayRecord({**arrays, "more": arrays["w"]}), "changed names or shapes"),
    (lambda arrays: ArrayRecord({**arrays, "b": Array(np.zeros((1, 3)))}), "changed names or shapes"),
    (
        lambda arrays: ArrayRecord({**arrays, "b": Array(np.full(3, np.inf))}),
        "the average of array 'b' by Spoiling is not finite",
    ),
]


@everywhere(ModelCheck, whole)
@pytest.mark.parametrize(("spoil", "fault"), NO_MODELS)
def test_an_average_that_is_no_model_ends_the_run(make_grid, arrays, make, loop, spoil, fault):
    with pytest.raises(RunFailedError, match=f"round 1: .*{fault}"):
        loop(make(Spoiling(spoil)), make_grid(toy_app()), arrays)


@everywhere(ModelCheck, whole)
def test_names_keep_their_order_and_arrays_their_dtypes(make_grid, arrays, make, loop):
    """Some strategies compute in float64, and return integers as such."""

    def as_doubles(averaged):
        doubles = {name: averaged[name].numpy().astype(np.float64) for name in reversed(list(averaged))}
        doubles["count"] = np.nextafter(doubles["count"], 0)
        return ArrayRecord({name: Array(values) for name, values in doubles.items()})

    sent = ArrayRecord({**arrays, "count": Array(np.array([7], np.int64))})
    returned = loop(make(Spoiling(as_doubles)), make_grid(toy_app(integers)), sent)
    assert {name: array.numpy().dtype for name, array in returned.items()} == {
        "w": np.float32, "b": np.float32, "count": np.int64,
    }  # fmt: skip
    assert list(returned) == ["w", "b", "count"]
    assert returned["count"].numpy() == [7]  # of a mean a little below it, too
    np.testing.assert_allclose(returned["w"].numpy(), np.full((2, 3), mean_of(0, 1, 2, 3)), rtol=1e-6)


def integers(silo, content):
    """The toys add floats to everything; the count stays an integer, and the same."""
    if content.array_records:
        content["arrays"]["count"] = Array(np.array([7], np.int64))


@everywhere(ModelCheck, whole)
def test_the_evaluation_passes(make_grid, arrays, make, loop):
    seen = []
    inner = FedAvg(**sampling())
    aggregate = inner.aggregate_evaluate
    inner.aggregate_evaluate = lambda number, replies: seen.append(aggregate(number, list(replies))) or seen[-1]
    loop(make(inner), make_grid(toy_app()), arrays, 2)
    assert [metrics["accuracy"] for metrics in seen] == [pytest.approx((0.1 * 1 + 0.2 * 2 + 0.3 * 3) / 6)] * 2
