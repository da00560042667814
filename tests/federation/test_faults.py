import math
from dataclasses import replace

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


HUGE = 10**5000  # Python writes no integer of so many digits
BAD += [
    (reply(metrics={"num-examples": weight}), fault)
    for weight, fault in [
        (5.0, "has weight 5.0 under 'num-examples', not an integer"),
        (1e308, "has weight 1e+308 under 'num-examples', not an integer"),
        (2**63 - 1, "has weight 9223372036854775807 under 'num-examples', above max_examples=9007199254740992"),
        (HUGE, "has weight int with a number of too many digits under 'num-examples', above max_examples"),
    ]
]
BAD += [
    (reply(metrics={"num-examples": 5, name: value}), f"has {shown} under '{name}'")
    for name, value, shown in [
        *[("accuracy", value, value) for value in (math.nan, math.inf, -0.5, 42, 1e308)],
        *[("train_loss", value, value) for value in (math.nan, math.inf, -1.0, 1e308)],
        *[("loss", value, value) for value in (-math.inf, -1.0, 1e308)],
        *[("train_seconds", value, value) for value in (math.nan, -1.0, 1e9, 1e308)],
        *[("unreadable-files", value, value) for value in (math.nan, -1, 1e308)],
        ("accuracy", HUGE, "int with a number of too many digits"),
    ]
]
BAD += [
    (reply(config={"server-round": answered, "fingerprint": FINGERPRINT}), f"answers round {shown}")
    for answered, shown in [(3.0, "3.0"), (True, "True"), ([3], "[3]"), ("3", "'3'"), (HUGE, "int with")]
]
BAD += [
    (reply(config={"server-round": 3, "fingerprint": other}), "has fingerprint ")
    for other in ("\ud800", b"ff", [FINGERPRINT], HUGE, 5)
]
BAD += [
    (reply(config={"server-round": 3, "fingerprint": FINGERPRINT, "note": empty}), "has an empty value under 'note'")
    for empty in ("", b"", [])
]
BAD += [
    (reply(arrays={**SENT, "extra\n" * 1000: SENT["b"]}), "has an array of unknown name 'extra extra"),
    (reply(arrays={**SENT, "w": np.full((8, 4), 3, np.int64)}), "array 'w' has dtype int64, not float32"),
]


def without(record, name):
    made = reply()
    made.content[name] = made.content.pop(record)
    return made


BAD += [
    (without("arrays", "weights"), "has no array record of name 'arrays'"),
    (without("metrics", "measures"), "has no metric record of name 'metrics'"),
]


@pytest.mark.parametrize(("bad", "fault"), BAD, ids=[fault for _, fault in BAD])
def test_a_bad_reply_is_told_from_a_sound_one(bad, fault):
    found = find_fault(bad, EXPECTED)
    assert found.startswith(fault)
    assert found.isprintable()
    assert len(found) < 400


def test_whatever_a_reply_is_made_of_is_a_fault_of_that_reply():
    assert find_fault(Reply(5), EXPECTED).startswith("cannot be read (AttributeError")


def test_a_weight_is_the_number_that_the_silo_named_and_below_the_setting():
    named = replace(EXPECTED, examples=4)
    assert find_fault(reply(), named) == "has weight 5 under 'num-examples', and named 4 when it joined"
    assert find_fault(reply(metrics={"num-examples": 4}), named) is None
    assert find_fault(reply(), replace(EXPECTED, max_examples=4)) == (
        "has weight 5 under 'num-examples', above max_examples=4"
    )


def test_another_weight_than_a_number_of_samples_need_be_no_integer():
    other = replace(EXPECTED, weight_key="quality", max_examples=10)
    assert find_fault(reply(metrics={"quality": 0.5}), other) is None
    assert "above max_examples" in find_fault(reply(metrics={"quality": 1e308}), other)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_of_a_model_that_diverged_is_no_fault_of_a_silo_that_evaluates(value):
    evaluating = replace(EXPECTED, arrays={}, metrics=("loss", "accuracy"))
    metrics = {"num-examples": 5, "loss": value, "accuracy": 0.5}
    assert find_fault(reply(metrics=metrics), evaluating) is None
    assert find_fault(reply(metrics={**metrics, "accuracy": value}), evaluating) is not None


@pytest.mark.parametrize(
    ("name", "values", "fault"),
    [
        ("bn.running_var", np.float32([1, -1e-9]), "array 'bn.running_var' holds a variance below 0"),
        ("bn.running_mean", np.float32([1, -1]), None),
        ("bn.num_batches_tracked", np.array(2**53 + 1), "array 'bn.num_batches_tracked' holds integers beyond 2^53"),
        ("bn.num_batches_tracked", np.array(-(2**63)), "array 'bn.num_batches_tracked' holds integers beyond 2^53"),
        ("bn.num_batches_tracked", np.array(2**53), None),
    ],
)
def test_statistics_that_a_network_cannot_have_are_a_fault(name, values, fault):
    expected = replace(EXPECTED, arrays={name: (str(values.dtype), values.shape)})
    assert find_fault(reply(arrays={name: values}), expected) == fault


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
