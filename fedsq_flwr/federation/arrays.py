"""Named tensors as Flower's records, and back.

Within one machine, or a Ray cluster, nothing needs to be encoded: a record may hold the tensors themselves, as
`TensorArray`. What goes over Flower's own network holds Flower's own arrays.
"""

from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from flwr.common import NDArray
from torch import Tensor

from fedsq_flwr.federation import npy

_NUMPY = "numpy.ndarray"  # Flower's name for the format of `numpy.save`


class TensorArray(Array):
    """An array that refers to a tensor, and is encoded only when somebody asks for its bytes.

    Strategies see it as any array of Flower's. `numpy` gives them a copy, which they may write to.

    Parameters
    ----------
    tensor : Tensor
        On the CPU. It is shared: nobody may write to it any more.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach().contiguous()
        self.dtype = str(tensor.dtype).removeprefix("torch.")
        self.shape = tuple(tensor.shape)
        self.stype = _NUMPY

    @property
    def data(self) -> bytes:  # type: ignore[override]
        """The bytes that a plain array of the same values holds."""
        return bytes(Array(self.tensor.numpy()).data)

    @property
    def data_bytes(self) -> int:
        """The length of `data`, without encoding it."""
        return _header_bytes(str(self.tensor.numpy().dtype.str), self.shape) + self.tensor.nbytes

    def numpy(self) -> NDArray:
        """Return a copy of the values."""
        return self.tensor.numpy().copy()

    def __copy__(self) -> "TensorArray":
        """Copy the reference, not the values."""
        copied = TensorArray.__new__(TensorArray)
        copied.__dict__.update(self.__dict__)
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the values as NumPy's array: Ray lays those in shared memory, where other processes read them."""
        return _shared_array_of, (self.tensor.numpy(),)


class _Buffer:
    """Memory by NumPy's array interface, as if it could be written to: torch warns of any other."""

    def __init__(self, values: NDArray) -> None:
        self._values = values  # keeps the memory
        interface = values.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def in_place(values: NDArray) -> Tensor:
    """Return a tensor in the memory of ``values``, which nobody may write to."""
    return torch.from_numpy(np.asarray(_Buffer(values)))


def _shared_array_of(values: NDArray) -> TensorArray:
    return TensorArray(in_place(values))


@lru_cache(maxsize=4096)  # it is asked for each array of each message
def _header_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    header = BytesIO()
    described: Any = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    return len(header.getvalue())


def to_arrays(state: Mapping[str, Tensor]) -> ArrayRecord:
    """Return copies of the tensors of ``state`` as named arrays, in its order."""
    return ArrayRecord({name: Array(tensor.detach().cpu().numpy()) for name, tensor in state.items()})


def to_shared_arrays(state: Mapping[str, Tensor]) -> ArrayRecord:
    """Return arrays that refer to the tensors of ``state``, which nobody may write to any more."""
    return record_of({name: TensorArray(tensor) for name, tensor in state.items()})


def record_of(arrays: Mapping[str, Array]) -> ArrayRecord:
    """Return a record of the very ``arrays``; Flower's constructor would make others, of their bytes."""
    record = ArrayRecord()
    for name, array in arrays.items():
        record[name] = array
    return record


def is_shared(arrays: ArrayRecord) -> bool:
    """Tell whether ``arrays`` refer to tensors of this process."""
    return any(isinstance(array, TensorArray) for array in arrays.values())


def read_values(array: Array, dtype: str, shape: tuple[int, ...], *, fortran: bool = False) -> NDArray:
    """Return the values of an array, shared or plain; see `npy.read_values`."""
    if not isinstance(array, TensorArray):
        return npy.read_values(array, dtype, shape, fortran=fortran)
    values: NDArray = array.tensor.numpy()
    if str(values.dtype) != dtype:
        raise ValueError(f"has dtype {values.dtype}, not {dtype}")
    if values.shape != shape:
        raise ValueError(f"has shape {values.shape}, not {shape}")
    return values


def is_fortran_ordered(array: Array) -> bool:
    """Tell whether the values of an array that was made here are in Fortran order."""
    return not isinstance(array, TensorArray) and npy.is_fortran_ordered(array)


def to_state(arrays: ArrayRecord) -> dict[str, Tensor]:
    """Return the arrays of a record as named tensors on the CPU, in its order; nothing is unpickled.

    The tensors of shared arrays are the ones that the arrays refer to, which nobody may write to. Others are copies.

    Raises
    ------
    ValueError
        If the bytes of an array are not what it says they are.
    """
    return {name: to_tensor(array) for name, array in arrays.items()}


def to_tensor(array: Array) -> Tensor:
    """Return an array as a tensor on the CPU; see `to_state`."""
    if isinstance(array, TensorArray):
        return array.tensor
    return torch.from_numpy(npy.read_values(array, array.dtype, tuple(array.shape), fortran=True).copy(order="C"))
