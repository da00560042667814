"""The numbers that a reply may hold: what each known metric can be, and what an average can hold at all."""

import reprlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeGuard

from fedsq_flwr.federation.protocol import (
    ACCURACY,
    AUROC,
    CALIBRATION,
    CLASS_COUNTS,
    CONFUSION,
    LOSS,
    TRAIN_LOSS,
    TRAIN_SECONDS,
    UNREADABLE,
)

#: Beyond it, not every integer is a floating-point number; also the most that the weights of a round may sum to.
LARGEST_INTEGER = 2**53
#: The largest number of float32, in which losses are computed.
_LARGEST_LOSS = 3.4028235e38
#: What a metric that is known must lie in, both ends included.
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        TRAIN_LOSS: (0.0, _LARGEST_LOSS),
        LOSS: (0.0, _LARGEST_LOSS),
        ACCURACY: (0.0, 1.0),
        AUROC: (0.0, 1.0),
        TRAIN_SECONDS: (0.0, 1e8),  # three years
        UNREADABLE: (0.0, 1e12),
    }
)
#: What each number of a metric that is a list must lie in.
LIST_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        CLASS_COUNTS: (0.0, LARGEST_INTEGER),
        CONFUSION: (0.0, LARGEST_INTEGER),
        CALIBRATION: (-LARGEST_INTEGER, LARGEST_INTEGER),
    }
)
#: A metric that is not known must be below this, positive or negative: any sum of such is finite.
_LARGEST = 1e200


def is_number(value: Any) -> TypeGuard[int | float]:
    """Tell whether a value is a number; ``True`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_range(name: str, value: int | float) -> bool:
    """Tell whether a number can be that of metric ``name``; no metric may be NaN."""
    low, high = RANGES.get(name) or LIST_RANGES.get(name, (-_LARGEST, _LARGEST))
    return low <= value <= high


def can_be_averaged(name: str, value: Any) -> bool:
    """Tell whether a value, or each of a list of values, is a number that can be that of metric ``name``."""
    values = value if isinstance(value, list) else [value]
    return all(is_number(each) and in_range(name, each) for each in values)


def shown(value: Any) -> str:
    """Return a value of somebody else's in a few characters, however long it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return f"{type(value).__name__} with a number of too many digits"
