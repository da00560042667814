"""What can be wrong with a reply, in a few words each."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common import NDArray

from fedsq_flwr.federation.arrays import read_values
from fedsq_flwr.federation.class_counts import find_miscount
from fedsq_flwr.federation.contents import array_records, config_records, metric_records
from fedsq_flwr.federation.npy import squared_distance
from fedsq_flwr.federation.protocol import (
    ARRAYS,
    CALIBRATION,
    CONFIG,
    FINGERPRINT,
    LOSS,
    METRICS,
    ROUND,
    TRAIN_LOSS,
    WEIGHT,
)
from fedsq_flwr.federation.ranges import LARGEST_INTEGER, RANGES, in_range, is_number, shown
from fedsq_flwr.flower_internals import ErrorCode

#: The most characters of a fault: some of them quote what a silo sent.
_LONGEST = 300


@dataclass(frozen=True)
class Expectation:
    """What a usable reply looks like.

    Attributes
    ----------
    server_round : int
        The round that was asked for.
    fingerprint : str
        The structural fingerprint that was sent.
    arrays : mapping of str to (str, tuple of int)
        dtype and shape of each array by name; empty where no arrays are asked for (evaluation).
    weight_key : str
        The metric that replies are weighted by.
    metrics : collection of str
        Other metrics that must be there, each a number within its range. Empty: those of `RANGES` that are there must
        be.
    lengths : mapping of str to int
        Which of these are lists of numbers, and how long they must be.
    array_key : str
        The name of the record of arrays.
    fortran : collection of str
        The arrays that were sent in Fortran order; a silo may answer in either order.
    examples : int or None
        The number of samples that the silo named when it joined; None if it named none.
    max_examples : int
        The most that a reply may weigh.
    sent : mapping of str to ndarray
        The floating-point values that the silo was sent, from which the norm of its update is found; empty if that is
        not asked for.
    """

    server_round: int
    fingerprint: str
    arrays: Mapping[str, tuple[str, tuple[int, ...]]]
    weight_key: str
    metrics: Collection[str] = ()
    lengths: Mapping[str, int] = field(default_factory=dict)
    array_key: str = ARRAYS
    fortran: Collection[str] = ()
    examples: int | None = None
    max_examples: int = LARGEST_INTEGER
    sent: Mapping[str, NDArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """What was found of a reply.

    Attributes
    ----------
    fault : str or None
        What is wrong, in a few words; None if the reply can be used.
    norm : float
        The Euclidean norm of what was trained minus what was sent, where the latter is known, else 0; infinite if the
        square of a difference is too large for its dtype.
    """

    fault: str | None
    norm: float = 0.0


def describe_arrays(record: ArrayRecord) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape of each array of ``record``."""
    return {name: (array.dtype, tuple(array.shape)) for name, array in record.items()}


def find_fault(reply: Message, expected: Expectation) -> str | None:
    """Return what is wrong with ``reply`` in a few words, or None if it can be used."""
    return examine(reply, expected).fault


def examine(reply: Message, expected: Expectation) -> Finding:
    """Return what is wrong with ``reply``, if anything, and how far it moves the model."""
    try:
        found = _examine(reply, expected)
    except Exception as error:  # noqa: BLE001 - whatever a reply is made of, it costs that reply only, by name
        found = Finding(f"cannot be read ({type(error).__name__}: {error})")
    return found if found.fault is None else Finding(in_one_line(found.fault))


def in_one_line(text: str) -> str:
    """Return a text, which may quote what a silo sent, as one line that any file and terminal takes."""
    shortened = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    line = " ".join(shortened.split())
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def abstains(reply: Message, weight_key: str) -> bool:
    """Tell whether a silo answers an evaluation with weight 0: it holds nothing out, and that is no fault."""
    records = [] if reply.has_error() else list(metric_records(reply.content).values())
    weight = records[0].get(weight_key) if len(records) == 1 else None
    return is_number(weight) and weight == 0


def _examine(reply: Message, expected: Expectation) -> Finding:
    if reply.has_error():
        return Finding(reason_of(reply))
    content = reply.content
    fault = _find_wrong_context(content, expected) or _find_bad_metrics(content, expected)
    return Finding(fault) if fault or not expected.arrays else _examine_arrays(content, expected)


def _find_wrong_context(content: RecordDict, expected: Expectation) -> str | None:
    for name, record in config_records(content).items():
        for key, value in record.items():
            if isinstance(value, str | bytes | list) and len(value) == 0:  # Flower cannot count the bytes of these
                return f"has an empty value under '{key}' in record '{name}'"
    echo = config_records(content).get(CONFIG) or ConfigRecord()
    answered, fingerprint = echo.get(ROUND), echo.get(FINGERPRINT, "")
    if type(answered) is not int or answered != expected.server_round:
        return f"answers round {shown(answered)}, not {expected.server_round}"
    if fingerprint != expected.fingerprint:
        told = repr(fingerprint[:12]) if isinstance(fingerprint, str) else shown(fingerprint)
        return f"has fingerprint {told}, not {expected.fingerprint[:12]!r}"
    return None


def _find_bad_metrics(content: RecordDict, expected: Expectation) -> str | None:
    records = metric_records(content)
    if len(records) != 1:
        return f"has {len(records)} metric records, not 1"
    if METRICS not in records:
        return f"has no metric record of name '{METRICS}'"
    record = records[METRICS]
    if (fault := _find_bad_weight(record, expected)) is not None:
        return fault
    names = expected.metrics or [name for name in RANGES if name in record]
    faults = (_find_bad_metric(name, record.get(name), expected) for name in names)
    if (fault := next((fault for fault in faults if fault is not None), None)) is not None:
        return fault
    return find_miscount(record, int(record[expected.weight_key])) if CALIBRATION in expected.lengths else None  # type: ignore[arg-type]


def _find_bad_metric(name: str, value: object, expected: Expectation) -> str | None:
    if name in expected.lengths:
        return _find_bad_list(name, value, expected.lengths[name])
    if not is_number(value):
        return f"has no number under '{name}'"
    diverged = name == LOSS and not expected.arrays and (math.isnan(value) or value == math.inf)
    if diverged or in_range(name, value):  # a model that diverged is no fault of the silo
        return None
    bounds = RANGES.get(name) if abs(value) < math.inf else None
    allowed = f", not {bounds[0]:g} to {bounds[1]:g}" if bounds else ""
    if name == TRAIN_LOSS and not bounds:
        allowed = ": its training diverged, as from too large a learning_rate"
    return f"has {shown(value)} under '{name}'{allowed}"


def _find_bad_list(name: str, value: object, length: int) -> str | None:
    if not isinstance(value, list) or len(value) != length:
        return f"has no list of {length} numbers under '{name}'"
    wrong = [each for each in value if not (is_number(each) and in_range(name, each))]
    return f"has {shown(wrong[0])} in the list under '{name}'" if wrong else None


def _find_bad_weight(record: MetricRecord, expected: Expectation) -> str | None:
    key, weight = expected.weight_key, record.get(expected.weight_key)
    if not is_number(weight):
        return f"has no number under '{key}'"
    said = f"has weight {shown(weight)} under '{key}'"
    if not 0 < weight < math.inf:
        return f"{said}, not above 0"
    if key == WEIGHT and not isinstance(weight, int):
        return f"{said}, not an integer"
    if weight > expected.max_examples:
        return f"{said}, above max_examples={expected.max_examples}"
    if key == WEIGHT and expected.examples not in (None, weight):
        return f"{said}, and named {expected.examples} when it joined"
    return None


def _find_wrong_record(records: Mapping[str, ArrayRecord], expected: Expectation) -> str | None:
    if len(records) != 1:
        return f"has {len(records)} array records, not 1"
    if expected.array_key not in records:
        return f"has no array record of name '{expected.array_key}'"
    found = records[expected.array_key].keys()
    missing, unknown = sorted(expected.arrays.keys() - found), sorted(found - expected.arrays.keys())
    if missing:
        return f"lacks array '{missing[0]}'" + (f" and {len(missing) - 1} more" if missing[1:] else "")
    return f"has an array of unknown name '{unknown[0]}'" if unknown else None


def _examine_arrays(content: RecordDict, expected: Expectation) -> Finding:
    records = array_records(content)
    if (fault := _find_wrong_record(records, expected)) is not None:
        return Finding(fault)
    arrays = records[expected.array_key]
    total = 0.0
    for name, (dtype, shape) in expected.arrays.items():
        try:
            values = read_values(arrays[name], dtype, shape, fortran=name in expected.fortran)
        except ValueError as error:
            return Finding(f"array '{name}' {error}")
        start = expected.sent.get(name)
        squared = None if start is None else squared_distance(values, start)
        if (fault := _find_bad_values(name, values, squared)) is not None:
            return Finding(f"array '{name}' {fault}")
        total += squared or 0.0
    return Finding(None, math.sqrt(total))


def _find_bad_values(name: str, values: NDArray, squared: float | None) -> str | None:
    """Return what is wrong with values; ``squared`` is their squared distance from finite values, if it is known."""
    if not (squared is not None and math.isfinite(squared)) and not np.isfinite(values).all():
        return "holds values that are not finite"
    if values.dtype.kind in "iu" and values.size and max(int(values.max()), -int(values.min())) > LARGEST_INTEGER:
        return "holds integers beyond 2^53"
    if name.rpartition(".")[2] == "running_var" and values.size and values.min() < 0:  # a batch norm takes its root
        return "holds a variance below 0"
    return None


def reason_of(reply: Message) -> str:
    """Return why an error reply is one, on one line."""
    gone = reply.error.code == ErrorCode.NODE_UNAVAILABLE
    return "has left, or cannot be reached" if gone else _cause(reply.error.reason)


def _cause(reason: str | None) -> str:
    """Return the silo's own words out of Flower's wrapping, on one line."""
    text = " ".join(str(reason or "failed without a reason").split())
    return text.rpartition("occurred. Message: ")[2].removesuffix("'>").strip() or "failed without a reason"
