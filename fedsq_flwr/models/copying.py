"""Copies of a network that share nothing with it."""

import copy
import pickle
from typing import TypeVar

from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def copied(network: Network) -> Network:
    """Return a deep copy of ``network``.

    Results that a module holds from an earlier pass, such as activations to look at, are copied without their
    history; torch itself refuses them.

    Raises
    ------
    ValueError
        If a module holds an object that cannot be copied, such as a lock.
    """
    results = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(network, results)
    except (RuntimeError, TypeError, ValueError, AttributeError, pickle.PickleError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"the {type(network).__name__} cannot be copied: {reason}") from error
