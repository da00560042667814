"""The quantitative copy: the network that learns and travels, alone or under fixed gates.

Alone, with its own ReLUs, it is the network of FedAvg and FedProx; `DualCopy` adds the structural copy.
So every method shares one interface, one batch-norm policy, and the same names for what travels.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedsq_flwr.gating.batch_norm import apply_policy, check_policy, travelling_buffers
from fedsq_flwr.gating.head import find_head, new_head


class QuantitativeCopy(nn.Module):
    """A trainable copy of a pretrained classifier.

    Parameters
    ----------
    network : nn.Module
        The pretrained classifier; it is copied and left as it is.
    batch_norm : {"batch", "frozen"}
        Policy for batch normalisation, see `fedsq_flwr.gating.batch_norm`.
    head : str, optional
        Name of the head; by default the last linear layer.

    Raises
    ------
    ValueError
        If the policy or the head's name is unknown.
    """

    #: Names the frozen structure that the gates come from; empty where the network has its own ReLUs.
    fingerprint: str = ""

    def __init__(self, network: nn.Module, *, batch_norm: str = "batch", head: str | None = None) -> None:
        super().__init__()
        check_policy(batch_norm)
        self.batch_norm = batch_norm
        self.head = find_head(network, head)
        self.quantitative = copy.deepcopy(network)
        self.train(network.training)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, classes)``."""
        return self.quantitative(images)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> "QuantitativeCopy":
        """Switch to training or evaluation mode, within the batch-norm policy."""
        super().train(mode)
        apply_policy(self.quantitative, self.batch_norm)
        return self

    def quantitative_state(self) -> dict[str, Tensor]:
        """Return just what travels: name -> tensor (detached, not copied), in the network's own order.

        Weights, biases, and running statistics where the policy averages them; all floating-point.
        """
        parameters = dict(self.quantitative.named_parameters())
        buffers = dict(self.quantitative.named_buffers())
        names = [*parameters, *travelling_buffers(self.quantitative, self.batch_norm)]
        return {name: {**parameters, **buffers}[name].detach() for name in names}

    def load_quantitative_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state``, as made by `quantitative_state`, into the quantitative copy.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a shape differs; nothing has been copied then.
        """
        own = self.quantitative_state()
        if own.keys() != state.keys():
            missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
            raise ValueError(f"quantitative state: missing {missing}, unknown {unknown}")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(
                    f"quantitative state: '{name}' has shape {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
                )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def replace_head(
        self, classes: int, initialisation: str = "zeros", generator: torch.Generator | None = None
    ) -> None:
        """Give the quantitative copy a new linear head for ``classes`` classes.

        Parameters
        ----------
        classes : int
            Number of classes of the new task.
        initialisation : {"zeros", "normal"}
            See `fedsq_flwr.gating.head.new_head`.
        generator : torch.Generator, optional
            Source of the normal draws.

        Raises
        ------
        ValueError
            If the network has no linear head, or the initialisation is unknown.
        """
        if self.head is None:
            raise ValueError("the network has no linear layer: name its head by `head=` to replace it")
        old = self.quantitative.get_submodule(self.head)
        self.quantitative.set_submodule(self.head, new_head(old, classes, initialisation, generator))

    def to_plain(self) -> nn.Module:
        """Return a copy of the quantitative network with its own ReLUs and no structural copy."""
        return copy.deepcopy(self.quantitative)
