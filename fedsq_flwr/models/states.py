"""Named tensors that are loaded whole or not at all."""

from collections.abc import Mapping

import torch
from torch import Tensor


def copy_state(what: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy the values of ``state`` into the tensors ``own`` of the same names.

    Parameters
    ----------
    what : str
        What the state is, for the error.
    own : mapping of str to Tensor
        The tensors that are written to.
    state : mapping of str to Tensor
        Tensors of the same names and shapes, on any device.

    Raises
    ------
    ValueError
        If a name is missing or unknown, or a shape differs; nothing has been copied then.
    """
    if own.keys() != state.keys():
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        raise ValueError(f"{what}: missing {missing}, unknown {unknown}")
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise ValueError(f"{what}: '{name}' has shape {tuple(state[name].shape)}, not {tuple(tensor.shape)}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])
