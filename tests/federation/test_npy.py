"""The header of an array is checked before a value is read."""

import io
import tracemalloc

import numpy as np
import pytest
from flwr.app import Array

from fedsq_flwr.federation.npy import read_values, squared_distance

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def saved(values) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=values.dtype == object)
    return buffer.getvalue()


def headed(header: str, version: int = 1, values: bytes = bytes(24)) -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text + values


def usual(descr="'<f4'", order="False", shape="(2, 3)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }} \n"


def zipped() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, w=VALUES)
    return buffer.getvalue()


@pytest.mark.parametrize("values", [VALUES, np.float64(3), np.zeros((0, 3), np.int64), np.ones(5, bool)], ids=str)
def test_what_numpy_writes_is_read_in_place(values):
    array = Array(np.asarray(values))
    found = read_values(array, array.dtype, array.shape)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, values)
    assert not found.flags.owndata or found.size == 0


BAD = {
    "another format": (b"not numpy's", "not in numpy's format"),
    "nothing": (b"", "not in numpy's format"),
    "a zip file": (zipped(), "not in numpy's format"),
    "a pickle": (saved(np.array([{"a": 1}], dtype=object)), "its header is not that of an array of numbers"),
    "another version": (headed(usual(), version=2), "not in numpy's format"),
    "a header that is cut": (saved(VALUES)[:60], "its header"),
    "no header": (headed(""), "its header"),
    "a token that ends nowhere": (headed("{'descr': '''"), "its header"),
    "an indentation": (headed("  {\n 'descr'"), "its header"),
    "brackets without end": (headed("(" * 5000), "its header"),
    "a long integer": (headed(usual(shape=f"({'9' * 5000},)")), "its header"),
    "code": (headed(usual(shape="(print(1),)")), "its header"),
    "flipped quotes": (headed(usual(descr='"<f4"')), "its header"),
    "a shape of 10^15": (
        headed(usual(shape="(1000000000000000,)")),
        r"has shape \(1000000000000000,\), not \(2, 3\)",
    ),
    "a shape that can be broadcast": (saved(VALUES[:1]), r"has shape \(1, 3\), not \(2, 3\)"),
    "another dtype": (saved(VALUES.astype(np.float64)), "has dtype float64, not float32"),
    "another byte order": (saved(VALUES.astype(">f4")), "has dtype >f4, not float32"),
    "no dtype at all": (headed(usual(descr="'<q4'")), "has dtype '<q4', not float32"),
    "Fortran order": (saved(np.asfortranarray(VALUES)), "is in Fortran order, and was sent in C order"),
    "a value less": (saved(VALUES)[:-4], "has 20 bytes of values, not 24"),
    "a byte more": (saved(VALUES) + b"\0", "has 25 bytes of values, not 24"),
}


@pytest.mark.parametrize("kind", BAD)
def test_other_bytes_are_refused_by_name_and_nothing_is_allocated_for_them(kind):
    data, reason = BAD[kind]
    tracemalloc.start()
    with pytest.raises(ValueError, match=reason):
        read_values(Array("float32", (2, 3), "numpy.ndarray", data), "float32", (2, 3))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (Array("float64", (2, 3), "numpy.ndarray", saved(VALUES)), "has dtype float64, not float32"),
        (Array("float32", (3, 2), "numpy.ndarray", saved(VALUES)), r"has shape \(3, 2\), not \(2, 3\)"),
        (Array("float32", (2, 3), "torch", saved(VALUES)), "not in numpy's format"),
    ],
)
def test_what_an_array_says_of_its_bytes_must_be_so(array, reason):
    with pytest.raises(ValueError, match=reason):
        read_values(array, "float32", (2, 3))


def test_fortran_order_is_read_where_it_was_sent():
    found = read_values(Array(np.asfortranarray(VALUES)), "float32", (2, 3), fortran=True)
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 2**16, 2**16 + 1])
def test_the_distance_is_that_of_all_values(dtype, size):
    draw = np.random.default_rng(0)
    ours, theirs = (draw.normal(size=size).astype(dtype) for _ in range(2))
    exact = float(((ours.astype(np.float64) - theirs.astype(np.float64)) ** 2).sum())
    assert squared_distance(ours, theirs) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_distance_that_is_no_number_is_none(value):
    assert not np.isfinite(squared_distance(np.float32([0, value]), np.float32([0, -1])))
