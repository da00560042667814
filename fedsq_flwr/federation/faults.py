"""What can be wrong with a reply, in a few words each."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedsq_flwr.federation.protocol import CONFIG, FINGERPRINT, ROUND
from fedsq_flwr.flower_internals import ErrorCode


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
        Other metrics that must be there, each a number; finite where arrays are asked for, too.
    """

    server_round: int
    fingerprint: str
    arrays: Mapping[str, tuple[str, tuple[int, ...]]]
    weight_key: str
    metrics: Collection[str] = ()


def describe_arrays(record: ArrayRecord) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape of each array of ``record``."""
    return {name: (array.dtype, tuple(array.shape)) for name, array in record.items()}


def find_fault(reply: Message, expected: Expectation) -> str | None:
    """Return what is wrong with ``reply`` in a few words, or None if it can be used."""
    if reply.has_error():
        gone = reply.error.code == ErrorCode.NODE_UNAVAILABLE
        return "has left, or cannot be reached" if gone else _cause(reply.error.reason)
    content = reply.content
    if (fault := _find_wrong_context(content, expected)) is not None:
        return fault
    if (fault := _find_bad_weight(content, expected.weight_key)) is not None:
        return fault
    if (fault := _find_bad_metric(content, expected)) is not None:
        return fault
    return _find_bad_arrays(content, expected.arrays) if expected.arrays else None


def abstains(reply: Message, weight_key: str) -> bool:
    """Tell whether a silo answers an evaluation with weight 0: it holds nothing out, and that is no fault."""
    records = [] if reply.has_error() else list(reply.content.metric_records.values())
    return len(records) == 1 and _number(records[0], weight_key) == 0


def _find_wrong_context(content: RecordDict, expected: Expectation) -> str | None:
    echo = content.config_records.get(CONFIG) or ConfigRecord()
    answered, fingerprint = echo.get(ROUND), echo.get(FINGERPRINT, "")
    if answered != expected.server_round:
        return f"answers round {answered!r}, not {expected.server_round}"
    if fingerprint != expected.fingerprint:
        return f"has fingerprint {str(fingerprint)[:12]!r}, not {expected.fingerprint[:12]!r}"
    return None


def _find_bad_weight(content: RecordDict, key: str) -> str | None:
    records = list(content.metric_records.values())
    if len(records) != 1:
        return f"has {len(records)} metric records, not 1"
    weight = _number(records[0], key)
    if weight is None:
        return f"has no number under '{key}'"
    return None if math.isfinite(weight) and weight > 0 else f"has weight {weight:g} under '{key}', not above 0"


def _find_bad_metric(content: RecordDict, expected: Expectation) -> str | None:
    record = next(iter(content.metric_records.values()))
    for name in expected.metrics:
        value = _number(record, name)
        if value is None:
            return f"has no number under '{name}'"
        if expected.arrays and not math.isfinite(value):
            return f"has {value:g} under '{name}'"
    return None


def _number(record: MetricRecord, key: str) -> float | None:
    value = record.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _find_bad_arrays(content: RecordDict, expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> str | None:
    records = list(content.array_records.values())
    if len(records) != 1:
        return f"has {len(records)} array records, not 1"
    arrays = records[0]
    missing, unknown = sorted(expected.keys() - arrays.keys()), sorted(arrays.keys() - expected.keys())
    if missing:
        return f"lacks array '{missing[0]}'" + (f" and {len(missing) - 1} more" if missing[1:] else "")
    if unknown:
        return f"has an array of unknown name '{unknown[0]}'"
    faults = (_find_bad_array(name, arrays[name], *expected[name]) for name in expected)
    return next((fault for fault in faults if fault is not None), None)


def _find_bad_array(name: str, array: Array, dtype: str, shape: tuple[int, ...]) -> str | None:
    try:
        values = array.numpy()  # never unpickles
    except (ValueError, TypeError, EOFError, OSError) as error:
        return f"array '{name}' cannot be decoded ({error})"
    if str(values.dtype) != dtype:
        return f"array '{name}' has dtype {values.dtype}, not {dtype}"
    if values.shape != shape:
        return f"array '{name}' has shape {values.shape}, not {shape}"
    if not np.isfinite(values).all():
        return f"array '{name}' holds values that are not finite"
    return None


def _cause(reason: str | None) -> str:
    """Return the silo's own words out of Flower's wrapping, on one line."""
    text = " ".join((reason or "failed without a reason").split())
    return text.rpartition("occurred. Message: ")[2].removesuffix("'>").strip()
