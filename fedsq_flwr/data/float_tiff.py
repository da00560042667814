"""Floating-point pixels in TIFF files that state their own black and white, without which they mean nothing."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

#: The tags that state black and white, by their number.
LIMITS: Mapping[int, str] = MappingProxyType({340: "SMinSampleValue", 341: "SMaxSampleValue"})


def float_pixels(values: np.ndarray, tags: Mapping[int, Any]) -> np.ndarray:
    """Return float32 pixels between 0 and 1: ``(values - black) / (white - black)``.

    Where black is 0 and white is 1, they are the values as they are stored, to the bit.

    Parameters
    ----------
    values : ndarray
        ``(H, W)`` float32, as stored.
    tags : mapping
        Of the file, by number.

    Raises
    ------
    ValueError
        If the tags are not there or state no range, or a value is not finite or outside their range.
    """
    missing = [f"{name} ({number})" for number, name in LIMITS.items() if number not in tags]
    if missing:
        raise ValueError(
            "has floating-point values, whose black and white are unknown: it lacks the TIFF tag "
            + " and the tag ".join(missing)
        )
    # In the precision of the values, so that rounding cannot put black and white outside 0 and 1.
    with np.errstate(over="ignore"):
        limits = np.concatenate([np.ravel(tags[number]) for number in LIMITS]).astype(np.float32)
        span = limits[-1] - limits[0]
    if len(limits) != 2 or not 0 < span < np.inf:
        told = " and ".join(f"{name} {tags[number]}" for number, name in LIMITS.items())
        raise ValueError(f"has floating-point values, and no black below its white: it states {told}")
    black, white = limits
    if not (np.isfinite(values).all() and values.min() >= black and values.max() <= white):
        raise ValueError(f"has values that are not finite, or not between its black {black} and its white {white}")
    pixels: np.ndarray = (values - black) / span
    return pixels


def write_floats(path: Path, pixels: np.ndarray) -> None:
    """Write ``(H, W)`` float32 pixels between 0 and 1, which are read back to the bit.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    black, white = LIMITS
    # Not compressed: Pillow would then write 0 into both tags.
    Image.fromarray(pixels).save(path, format="TIFF", tiffinfo={black: 0.0, white: 1.0})
