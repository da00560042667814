"""Copies of a network that share nothing with it."""

import copy
import pickle
from typing import TypeVar

from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

_CANNOT = (RuntimeError, TypeError, ValueError, AttributeError, pickle.PickleError)


def copied(network: Network) -> Network:
    """Return a deep copy of ``network``.

    Results that a module holds from an earlier pass, such as activations to look at, are copied without their
    history; torch itself refuses them.

    Raises
    ------
    ValueError
        If a module holds an object that cannot be copied, such as a lock; the message names the module.
    """
    results = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(network, results)
    except _CANNOT as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"layer '{_at_fault(network)}' cannot be copied: {reason}") from error


def _at_fault(network: nn.Module) -> str:
    """Return the name of the innermost module that cannot be copied without its submodules."""
    for name, module in reversed(list(network.named_modules())):
        try:
            copy.deepcopy({key: value for key, value in vars(module).items() if key != "_modules"})
        except _CANNOT:
            return name or type(network).__name__
    return type(network).__name__
