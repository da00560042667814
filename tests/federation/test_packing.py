"""A packed state comes back as it was; a rounded one within half a unit of its last place."""

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedsq_flwr.federation.packing import (
    FORMAT,
    PACKED,
    WIRE_DTYPES,
    check_packed,
    dtype_of,
    is_packed,
    pack,
    packed_size,
    unpack,
)

#: Largest relative error of rounding to the nearest: half the distance of two neighbours.
HALF_UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
SMALLEST_NORMAL = {"float16": 2.0**-14, "bfloat16": 2.0**-126}

shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
floats = arrays.arrays(np.float32, shapes, elements=st.floats(-6e4, 6e4, width=32))


names = st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__")


def test_a_name_that_safetensors_keeps_for_itself_is_refused():
    with pytest.raises(ValueError, match="'__metadata__' cannot be packed"):
        pack({"__metadata__": torch.zeros(1)})


@given(st.dictionaries(names, floats, max_size=5))
def test_in_float32_every_bit_comes_back(state):
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in state.items()}
    record = pack(tensors)
    back = unpack(record)
    assert is_packed(record)
    assert list(back) == sorted(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert back[name].numpy().tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize("dtype", HALF_UNIT)
@given(values=floats)
def test_rounded_values_are_within_half_a_unit_of_the_last_place(dtype, values):
    exact = torch.from_numpy(np.array(values))
    back = unpack(pack({"x": exact}, dtype))["x"]
    assert back.dtype == torch.float32
    allowed = HALF_UNIT[dtype] * exact.double().abs().clamp_min(SMALLEST_NORMAL[dtype])
    assert bool(((back.double() - exact.double()).abs() <= allowed).all())


def test_integers_and_values_that_are_not_finite_pass_as_they_are():
    state = {"count": torch.tensor([2**40, -1]), "x": torch.tensor([float("nan"), float("inf"), -0.0, 1.0])}
    back = unpack(pack(state, "float16"))
    assert torch.equal(back["count"], state["count"])
    assert torch.allclose(back["x"], state["x"], rtol=0, atol=0, equal_nan=True)
    assert bool(torch.signbit(back["x"])[2])


def test_a_value_that_is_too_large_is_named_and_not_made_infinite():
    with pytest.raises(ValueError, match=r"array 'bn.running_var' holds values up to 7e\+04, too large for float16"):
        pack({"bn.running_var": torch.tensor([1.0, 7e4])}, "float16")


@pytest.mark.parametrize("dtype", WIRE_DTYPES)
def test_a_record_says_what_it_holds_and_stays_below_the_size_that_is_allowed(dtype):
    state = {f"layer{number}.weight": torch.randn(number, 3) for number in range(40)} | {"n": torch.tensor(3)}
    record = pack(state, dtype)
    assert dtype_of(record) == dtype
    assert len(record[PACKED].data) <= packed_size(state, dtype) < len(record[PACKED].data) + 20_000


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: b"", lambda data: b"\xff" * 64])
def test_damaged_bytes_are_refused(spoil):
    record = pack({"x": torch.ones(3)})
    broken = ArrayRecord({PACKED: Array("float32", (3,), FORMAT, spoil(record[PACKED].data))})
    with pytest.raises(ValueError, match="packed arrays cannot be read"):
        unpack(broken)


def test_plain_arrays_are_not_taken_for_packed_ones():
    assert not is_packed(ArrayRecord({PACKED: Array(np.ones(3))}))
    assert not is_packed(ArrayRecord({"w": Array("float32", (3,), FORMAT, b"")}))
    assert not is_packed(ArrayRecord())


OWN = {"w": torch.ones(2, 3), "n": torch.tensor([7])}


def with_data(data: bytes, dtype: str = "float32") -> ArrayRecord:
    return ArrayRecord({PACKED: Array(dtype, (1,), FORMAT, data)})


def with_header(text: str) -> ArrayRecord:
    return with_data(len(text).to_bytes(8, "little") + text.encode())


@pytest.mark.parametrize("dtype", WIRE_DTYPES)
def test_what_is_like_a_silos_own_network_is_taken(dtype):
    check_packed(pack(OWN, dtype), OWN)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (ArrayRecord({"w": Array(np.ones((2, 3), np.float32))}), "are not packed"),
        (
            pack({**OWN, "more": torch.zeros(9999)}),
            r"40,\d\d\d bytes of arrays arrived where 1,\d\d\d are the most of",
        ),
        (pack({**OWN, "more": torch.zeros(1)}), r"array 'more' is not as in this network: shape \[1\] arrived"),
        (pack({"w": OWN["w"]}), r"array 'n' is not as in this network: nothing arrived"),
        (pack({**OWN, "w": torch.ones(3, 2)}), r"array 'w' is not as in this network: shape \[3, 2\] arrived"),
        (with_header('{"w":{"dtype":"F32","shape":[1000000000000000],"data_offsets":[0,4]}}'), "array 'n' is not as"),
        (with_data(b""), "cannot be read"),
        (with_data(b"\xff" * 64), "cannot be read"),
        (with_data(b"\xff" * 64, "float64"), "are not packed"),
        (with_header("[" * 900), "cannot be read"),
        (with_header("[]"), "cannot be read"),
        (with_header('{"w": 3}'), "cannot be read"),
        (with_header('{"w": {"shape": 3}}'), "cannot be read"),
    ],
)
def test_what_is_not_is_refused_by_its_size_and_header_before_it_is_unpacked(monkeypatch, record, told):
    monkeypatch.setattr("fedsq_flwr.federation.packing.load", None)
    with pytest.raises(ValueError, match=told):
        check_packed(record, OWN)
