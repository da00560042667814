"""The head: the last linear layer, or the module that the user names. Only the head is new for a new task."""

import torch
from torch import nn

INITIALISATIONS = ("zeros", "normal")


def find_head(network: nn.Module, head: str | None) -> str | None:
    """Return the head's name: ``head`` if given, else the last `nn.Linear`, else None.

    Raises
    ------
    ValueError
        If ``head`` names no module of the network.
    """
    modules = dict(network.named_modules())
    if head is not None:
        if head not in modules:
            raise ValueError(f"head={head!r} names no module of {type(network).__name__}")
        return head
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None


def new_head(old: nn.Module, classes: int, initialisation: str, generator: torch.Generator | None) -> nn.Linear:
    """Make a linear head for ``classes`` classes to replace ``old``, with the device and the dtype of ``old``.

    Parameters
    ----------
    old : nn.Module
        The linear layer to replace.
    classes : int
        Size of the new head.
    initialisation : {"zeros", "normal"}
        ``zeros`` (our default) starts every silo from the same neutral point, so that the first gradients are
        the class means of the features. ``normal`` draws the weights with mean 0 and std 0.01; the bias is 0.
    generator : torch.Generator, optional
        Source of the normal draws.

    Raises
    ------
    ValueError
        If ``old`` is no linear layer, or the initialisation is unknown.
    """
    if not isinstance(old, nn.Linear):
        raise ValueError(f"a new head needs a linear layer to replace, not a {type(old).__name__}")
    if initialisation not in INITIALISATIONS:
        raise ValueError(f"head={initialisation!r}: allowed are {', '.join(INITIALISATIONS)}")
    # On the device meta, since the constructor would draw from the global generator. `torch.nn.utils.skip_init` does
    # the same, but imports sympy (0.3 s).
    head = nn.Linear(old.in_features, classes, device="meta")
    weight = torch.zeros(head.weight.shape)
    if initialisation == "normal":
        weight.normal_(0.0, 0.01, generator=generator)
    head.weight, head.bias = nn.Parameter(weight), nn.Parameter(torch.zeros(classes))
    return head.to(old.weight.device, old.weight.dtype)
