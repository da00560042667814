"""Replies that are wrong in every way that we know: in their records, names, types, headers, bytes and numbers.

`spoil` changes a good reply by one to three of `WAYS`.
"""

import io
import pickle
import random
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedsq_flwr.federation.protocol import ARRAYS, CONFIG, METRICS

Way = Callable[[random.Random, RecordDict], None]

#: Numbers of every size and kind. None of them can be a weight that is accepted from a silo that named its own.
NUMBERS: tuple[Any, ...] = (
    *(0, -1, -(2**31), 2**53, 2**53 + 1, 2**63 - 1, 2**63, 10**30, 10**309, 10**400, 10**5000, 0.0, -0.0, 0.5, 5.5),
    *(1e308, -1e308, 1e39, 5e-324, float("nan"), float("inf"), -float("inf"), [], [1], [1.0, 2.0], [10**400]),
)
#: What the metrics of a reply can never be.
NOT_ALLOWED: tuple[Any, ...] = (-1, -1e308, 1e308, 10**400, 10**5000, -float("inf"), [], [0.5], [10**400])
TEXTS = ("", " ", "x" * 100_000, "\n\r\t\x1b[31m", "\ud800", "ä\u202e", "arrays", "../..", "0", "nan", "%s{}")
VALUES: tuple[Any, ...] = (*NUMBERS, *TEXTS, True, False, b"", b"\xff\x00", [True], ["", ""], [b""])


def spoil(draw: random.Random, content: RecordDict) -> tuple[list[str], bool]:
    """Change ``content`` in place; return the names of the ways, and whether it can surely not be used any more."""
    kinds = [way for way in WAYS if ARRAYS in content or way not in OF_ARRAYS]
    # In the order of WAYS, in which none takes back what another did.
    chosen = sorted(draw.sample(kinds, draw.choice((1, 1, 1, 2, 3))), key=WAYS.index)
    for way in chosen:
        taken = way in OF_ARRAYS and not content.array_records.get(ARRAYS)  # by another way
        if content and not taken:
            way(draw, content)
    return [way.__name__ for way in chosen], any(way not in PERHAPS for way in chosen)


def error_reply(draw: random.Random, message: Message) -> Message:
    """Return an error instead of a reply, with a reason of any kind."""
    reasons = (*TEXTS, None, 5, b"\xff", "Exception ClientAppException occurred. Message: '>")
    return Message(Error(draw.choice((0, 1, 2, 7, 2**31)), draw.choice(reasons)), reply_to=message)  # type: ignore


# Records.


def no_record(draw: random.Random, content: RecordDict) -> None:
    """Leave a record out."""
    del content[draw.choice([name for name in (ARRAYS, METRICS, CONFIG) if name in content] or list(content))]


def another_name(draw: random.Random, content: RecordDict) -> None:
    """Send a record under another name."""
    name = draw.choice([name for name in (ARRAYS, METRICS, CONFIG) if name in content] or list(content))
    content[f"{name}{draw.choice(('x', ' ', '2'))}"] = content.pop(name)


def one_more_record(draw: random.Random, content: RecordDict) -> None:
    """Send a record twice, under another name."""
    name = draw.choice([name for name in (ARRAYS, METRICS) if name in content] or list(content))
    content["more"] = content[name].copy()


def other_types_of_records(draw: random.Random, content: RecordDict) -> None:
    """Exchange the types of records."""
    name = draw.choice(list(content))
    kinds = [kind for kind in (ArrayRecord, MetricRecord, ConfigRecord) if type(content[name]) is not kind]
    content[name] = draw.choice(kinds)()


def empty_record(draw: random.Random, content: RecordDict) -> None:
    """Send a record without anything in it."""
    name = draw.choice(list(content))
    content[name] = type(content[name])()


# The config.


def another_round(draw: random.Random, content: RecordDict) -> None:
    """Say another round, or none that is a number."""
    _put(content, CONFIG, "server-round", draw.choice([value for value in VALUES if value != 2]))


def another_fingerprint(draw: random.Random, content: RecordDict) -> None:
    """Say another fingerprint, or none that is text."""
    _put(content, CONFIG, "fingerprint", draw.choice(VALUES))


def empty_value(draw: random.Random, content: RecordDict) -> None:
    """Put an empty value beside the others."""
    _put(content, CONFIG, draw.choice(TEXTS), draw.choice(("", b"", [])))


# Metrics.


def another_weight(draw: random.Random, content: RecordDict) -> None:
    """Weigh what no silo weighs."""
    weights = [value for value in NUMBERS if value not in (0, 0.0)]
    _put(content, METRICS, "num-examples", draw.choice(weights))


def another_metric(draw: random.Random, content: RecordDict) -> None:
    """Put a number of another size under a metric that is known."""
    known = ("train_loss", "train_seconds") if ARRAYS in content else ("loss", "accuracy")
    _put(content, METRICS, draw.choice(known), draw.choice(NOT_ALLOWED))


def lacking_metric(draw: random.Random, content: RecordDict) -> None:
    """Leave out a metric that is read."""
    for record in content.metric_records.values():
        for name in draw.sample(list(record), min(1, len(record))):
            del record[name]


def unknown_metric(draw: random.Random, content: RecordDict) -> None:
    """Put anything under a name that nobody reads."""
    _put(content, METRICS, draw.choice(TEXTS), draw.choice(NUMBERS))


# Arrays.


def lacking_array(draw: random.Random, content: RecordDict) -> None:
    """Leave an array out."""
    del content[ARRAYS][_one(draw, content)]


def another_array(draw: random.Random, content: RecordDict) -> None:
    """Send one array more, or one under another name."""
    record, name = content[ARRAYS], _one(draw, content)
    record[draw.choice(TEXTS)] = record[name] if draw.random() < 0.5 else record.pop(name)


def other_values(draw: random.Random, content: RecordDict) -> None:
    """Send values of another dtype, shape, order or size."""
    name = draw.choice([name for name in content[ARRAYS] if name != "empty"])
    try:
        values = content[ARRAYS][name].numpy()
    except Exception:  # noqa: BLE001 - it is packed, or spoilt already
        values = np.zeros((2, 3), np.float32)
    with np.errstate(all="ignore"):
        changes: tuple[Callable[[], Any], ...] = (
            lambda: values.astype(np.float16),
            lambda: values.astype(np.float64).astype(">f8"),
            lambda: values.astype(values.dtype.newbyteorder(">")),
            lambda: values.astype(np.complex64),
            lambda: np.full(values.shape, "a"),
            lambda: np.zeros(values.shape, [("a", np.int32), ("b", np.float32)]),
            lambda: values[None],
            lambda: values.ravel()[:0],
            lambda: np.zeros((*values.shape, 2), values.dtype),
            lambda: np.full(values.shape, np.nan, np.float32),
            lambda: np.full(values.shape, -np.inf, np.float32),
            lambda: np.full(values.shape, 3e38, np.float32) if values.dtype.kind == "f" else values.astype(np.uint8),
        )
        content[ARRAYS][name] = Array(np.asarray(draw.choice(changes)()))


def other_bytes(draw: random.Random, content: RecordDict) -> None:
    """Send bytes that are of another format, or that say of themselves what is not so."""
    array = content[ARRAYS][_one(draw, content)]
    data = array.data if isinstance(array.data, bytes) else b""
    pickled, zipped = io.BytesIO(), io.BytesIO()
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(zipped, a=np.zeros(3))
    with zipfile.ZipFile(io.BytesIO(), "w") as empty:
        empty_zip = empty.fp.getvalue() if isinstance(empty.fp, io.BytesIO) else b""
    shape = draw.choice(("(1000000000000000,)", "(10**15,)", "(-1,)", "(2, 3", "((((" * 2000, "(2, True)", "[2, 3]"))
    dtype = draw.choice(("<f4", "|O", "<f9", "f4,f4", "<U999999999", "\\'", "<f4', 'x': '"))
    order = draw.choice(("False", "True", "0", "None", "Falsch"))
    header = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}\n   \tx".encode()
    array.data = draw.choice(
        (
            *(
                pickled.getvalue(),
                zipped.getvalue(),
                empty_zip,
                pickle.dumps({"a": 1}),
                b"",
                b"\x93NUMPY",
                b"PK\x03\x04",
            ),
            *(data[:-1], data + b"\x00", data[:9], b"\xff" * 64, b"\x00" * 64),
            b"\x93NUMPY\x01\x00" + len(header).to_bytes(4, "little")[:2] + header + bytes(24),
            b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + header,
            b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
            (8).to_bytes(8, "little") + b"[[[[[[[[",
        )
    )


def flipped_bits(draw: random.Random, content: RecordDict) -> None:
    """Flip some bits of the header: what is left may say the same."""
    array = content[ARRAYS][_one(draw, content)]
    data = bytearray(array.data if isinstance(array.data, bytes) else b"")
    for _ in range(draw.choice((1, 1, 2, 5))):
        if data:
            data[draw.randrange(min(80, len(data)))] ^= 1 << draw.randrange(8)
    array.data = bytes(data)


def other_attributes(draw: random.Random, content: RecordDict) -> None:
    """Let an array say what its bytes do not."""
    array = content[ARRAYS][_one(draw, content)]
    name, values = draw.choice(
        (
            ("dtype", ("float16", "", "O", None, 7)),
            ("shape", ((7,), (10**15,), (-1,), ("a",), None, 5)),
            ("stype", ("", "torch", "safetensors2", None)),
            ("data", (None, "text", 5, [1])),
        )
    )
    setattr(array, name, draw.choice(values))


OF_ARRAYS: tuple[Way, ...] = (lacking_array, another_array, other_values, other_bytes, flipped_bits, other_attributes)
WAYS: tuple[Way, ...] = (
    *(no_record, other_types_of_records, empty_record, another_name, one_more_record),
    *(another_round, another_fingerprint, empty_value),
    *(lacking_metric, another_weight, another_metric, unknown_metric),
    *OF_ARRAYS,
)
#: After these a reply may still be one that can be used.
PERHAPS: tuple[Way, ...] = (unknown_metric, lacking_metric, flipped_bits)


def _one(draw: random.Random, content: RecordDict) -> str:
    return draw.choice(list(content[ARRAYS]))


def _put(content: RecordDict, record: str, name: str, value: Any) -> None:
    """Put a value where Flower's own checks would not let it."""
    if record in content:
        content[record].__dict__["_data"][name] = value
