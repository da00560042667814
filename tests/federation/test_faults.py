import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedsq_flwr.federation.faults import Expectation, describe_arrays, find_fault
from tests.federation.toys import FINGERPRINT

SENT = {"w": np.zeros((8, 4), np.float32), "b": np.zeros(4, np.float32)}
EXPECTED = Expectation(
    3, FINGERPRINT, describe_arrays(ArrayRecord({k: Array(v) for k, v in SENT.items()})), "num-examples"
)


class Reply:
    """Stands for a message: what screening looks at."""

    def __init__(self, content):
        self.content = content

    def has_error(self):
        return False


def reply(arrays=None, metrics=None, config=None):
    arrays = SENT if arrays is None else arrays
    metrics = {"num-examples": 5} if metrics is None else metrics
    config = {"server-round": 3, "fingerprint": FINGERPRINT} if config is None else config
    return Reply(
        RecordDict(
            {
                "arrays": ArrayRecord({k: v if isinstance(v, Array) else Array(v) for k, v in arrays.items()}),
                "metrics": MetricRecord(metrics),
                "config": ConfigRecord(config),
            }
        )
    )


def test_a_sound_reply_has_no_fault():
    assert find_fault(reply(), EXPECTED) is None


BAD = [
    (reply(arrays={"w": SENT["w"]}), "lacks array 'b'"),
    (reply(arrays={}), "lacks array 'b' and 1 more"),
    (reply(arrays={**SENT, "extra": SENT["b"]}), "has an array of unknown name 'extra'"),
    (reply(arrays={**SENT, "w": np.zeros((1, 4), np.float32)}), "array 'w' has shape (1, 4), not (8, 4)"),
    (reply(arrays={**SENT, "w": np.zeros((8, 4), np.float64)}), "array 'w' has dtype float64, not float32"),
    (reply(arrays={**SENT, "w": np.zeros((8, 4), np.int32)}), "array 'w' has dtype int32, not float32"),
    (
        reply(arrays={**SENT, "b": np.array([0, 1, np.inf, 2], np.float32)}),
        "array 'b' holds values that are not finite",
    ),
    (reply(metrics={"num-examples": 0}), "has weight 0 under 'num-examples', not above 0"),
    (reply(metrics={"num-examples": -3}), "has weight -3 under 'num-examples', not above 0"),
    (reply(metrics={"num-examples": math.nan}), "has weight nan under 'num-examples', not above 0"),
    (reply(metrics={"num-examples": math.inf}), "has weight inf under 'num-examples', not above 0"),
    (reply(metrics={"num-examples": [5, 5]}), "has no number under 'num-examples'"),
    (reply(metrics={"loss": 1.0}), "has no number under 'num-examples'"),
    (reply(config={"server-round": 2, "fingerprint": FINGERPRINT}), "answers round 2, not 3"),
    (reply(config={"fingerprint": FINGERPRINT}), "answers round None, not 3"),
    (
        reply(config={"server-round": 3, "fingerprint": "0" * 64}),
        "has fingerprint '000000000000', not 'ffffffffffff'",
    ),
    (reply(config={"server-round": 3}), "has fingerprint '', not 'ffffffffffff'"),
    (
        reply(arrays={**SENT, "b": Array("float32", (4,), "numpy.ndarray", b"not a numpy file")}),
        "array 'b' cannot be decoded",
    ),
]


@pytest.mark.parametrize(("bad", "fault"), BAD, ids=[fault for _, fault in BAD])
def test_a_bad_reply_is_told_from_a_sound_one(bad, fault):
    assert find_fault(bad, EXPECTED).startswith(fault)


def test_a_pickle_is_never_opened():
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    smuggled = Array("float32", (4,), "numpy.ndarray", buffer.getvalue())
    assert "cannot be decoded" in find_fault(reply(arrays={**SENT, "b": smuggled}), EXPECTED)


@given(hnp.arrays(np.float32, (4,), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)))
def test_only_finite_arrays_pass(values):
    passes = find_fault(reply(arrays={**SENT, "b": values}), EXPECTED) is None
    assert passes == bool(np.isfinite(values).all())


@given(hnp.array_shapes(max_dims=3, max_side=8))
def test_only_the_very_shape_passes(shape):
    passes = find_fault(reply(arrays={**SENT, "w": np.zeros(shape, np.float32)}), EXPECTED) is None
    assert passes == (shape == (8, 4))


def test_a_silos_own_words_are_taken_out_of_flowers_wrapping(make_grid):
    from tests.federation.toys import toy_app

    make_grid(toy_app())  # sets the identity that a message takes its sender from
    question = Message(RecordDict(), 1, "train")
    wrapping = "<class 'flwr.clientapp.client_app.ClientAppException'>:<'\nException ClientAppException occurred."
    wrapped = f"{wrapping} Message: disk\nis full'>"
    answer = Message(Error(1, wrapped), reply_to=question)
    assert find_fault(answer, EXPECTED) == "disk is full"
