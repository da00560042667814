"""The bytes of an array in numpy's ``.npy`` format: the header is checked before a value is read.

``np.load`` goes by the header that it finds: it allocates what that declares, opens zip files, and raises a dozen
kinds of errors. Its parser, Python's own, must not run in two threads at once (CPython issue 106905). Here the header
must be the one that is expected. Values are then read in place, without a copy.
"""

import math
import re
from typing import Literal

import numpy as np
from flwr.app import Array
from flwr.common import NDArray

_VALUES_AT_ONCE = 2**16  # so many differences stay in the processor's cache
STYPE = "numpy.ndarray"
_MAGIC = b"\x93NUMPY\x01\x00"  # version 1.0, which numpy writes for every array of plain numbers
_START = len(_MAGIC) + 2  # and the length of the header, in two bytes
_HEADER = re.compile(
    r"\{'descr': '([^'\\]{2,20})', 'fortran_order': (True|False), 'shape': \(([\d, ]{0,200})\), \} {0,200}\n"
)


def is_fortran_ordered(array: Array) -> bool:
    """Tell whether the values of an array that was made here are in Fortran order."""
    return b"'fortran_order': True" in array.data[_START : _START + 200]


def read_values(array: Array, dtype: str, shape: tuple[int, ...], *, fortran: bool = False) -> NDArray:
    """Return the values of an array, which is expected to be of ``dtype`` and ``shape``; they are not copied.

    Parameters
    ----------
    array : Array
        From anywhere.
    dtype, shape
        As the array that was sent.
    fortran : bool
        Whether Fortran order is allowed beside C order.

    Raises
    ------
    ValueError
        With what is wrong, as the rest of a sentence that begins with the array's name. No memory is allocated for
        what the array declares.
    """
    data = array.data
    if array.stype != STYPE or not isinstance(data, bytes) or data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("cannot be decoded (it is not in numpy's format)")
    end = _START + int.from_bytes(data[_START - 2 : _START], "little")
    header = _HEADER.fullmatch(data[_START:end].decode("latin-1")) if end <= len(data) else None
    if header is None or header[1].endswith("O"):
        raise ValueError("cannot be decoded (its header is not that of an array of numbers)")
    found = _dtype_name(header[1])
    if found != dtype or array.dtype != dtype:
        raise ValueError(f"has dtype {array.dtype if found == dtype else found}, not {dtype}")
    if header[3] != str(shape)[1:-1] or array.shape != shape:
        raise ValueError(
            f"has shape {array.shape if header[3] == str(shape)[1:-1] else f'({header[3]})'}, not {shape}"
        )
    order: Literal["C", "F"] = "F" if header[2] == "True" else "C"
    if order == "F" and not fortran:
        raise ValueError("is in Fortran order, and was sent in C order")
    count = math.prod(shape)
    wanted, has = count * np.dtype(dtype).itemsize, len(data) - end
    if has != wanted:
        raise ValueError(f"has {has:,} bytes of values, not {wanted:,}")
    values: NDArray = np.frombuffer(data, dtype, count, end) if count else np.empty(0, dtype)
    return values.reshape(shape, order=order)


def squared_distance(values: NDArray, others: NDArray) -> float:
    """Return the sum of the squared differences of floating-point values.

    It is infinite or NaN if a value is not finite, or the square of a difference is too large for its dtype. No array
    of all differences is made.
    """
    ours, theirs = values.ravel(), others.ravel()
    dtype = np.float64 if values.dtype == np.float64 else np.float32
    differences = np.empty(min(len(theirs), _VALUES_AT_ONCE), dtype)
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, len(theirs), _VALUES_AT_ONCE):
            part = slice(first, first + _VALUES_AT_ONCE)
            step = np.subtract(ours[part], theirs[part], out=differences[: len(theirs[part])], dtype=dtype)
            total += float(np.dot(step, step))
    return total


def _dtype_name(descr: str) -> str:
    try:
        return str(np.dtype(descr))
    except (TypeError, ValueError, SyntaxError):
        return repr(descr)
