"""Named tensors as Flower's records, and back."""

from collections.abc import Mapping

import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor


def to_arrays(state: Mapping[str, Tensor]) -> ArrayRecord:
    """Return copies of the tensors of ``state`` as named arrays, in its order."""
    return ArrayRecord({name: Array(tensor.detach().cpu().numpy()) for name, tensor in state.items()})


def to_state(arrays: ArrayRecord) -> dict[str, Tensor]:
    """Return copies of the arrays of a record as named tensors on the CPU, in its order; nothing is unpickled."""
    return {name: torch.from_numpy(array.numpy()) for name, array in arrays.items()}
