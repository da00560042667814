"""Bytes are counted as Flower counts them, also where Flower cannot."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedsq_flwr.federation.protocol import SETTINGS, count_bytes
from fedsq_flwr.flower_internals import send_messages_as

USUAL = (
    ArrayRecord({"w": Array(np.ones((2, 3), np.float32)), "empty": Array(np.ones(0))}),
    ConfigRecord(
        {"a": 1, "b": 0.5, "c": True, "d": "text", "e": b"bytes", "f": [1, 2], "g": ["a", "bc"], "h": [True]}
    ),
    MetricRecord({"num-examples": 5, "loss": [0.5, 1.5]}),
)


def counted(record) -> int:
    send_messages_as(1, 1)
    return count_bytes([Message(RecordDict({"record": record}), 1, "train")])


@pytest.mark.parametrize("record", USUAL, ids=lambda record: type(record).__name__)
def test_the_bytes_are_those_that_flower_counts(record):
    assert counted(record) == record.count_bytes()


@pytest.mark.parametrize("empty", ["", b"", []])
def test_empty_values_are_counted_by_their_names(empty):
    assert counted(ConfigRecord({"note": empty})) == 4


def test_the_settings_are_left_out():
    assert counted(ConfigRecord({SETTINGS: "long", "a": 1})) == 9
