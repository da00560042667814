"""The quantitative copy: the network that learns and travels, alone or under fixed gates.

Alone, with its own ReLUs, it is the network of FedAvg and FedProx. `DualCopy` adds the structural copy. Every
method therefore shares one interface, one batch-norm policy, and the names of the tensors that travel.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedsq_flwr.models.batch_norm import apply_policy, check_policy, staying_tensors, travelling_buffers
from fedsq_flwr.models.copying import copied
from fedsq_flwr.models.head import find_head, new_head


class QuantitativeCopy(nn.Module):
    """A trainable copy of a pretrained classifier.

    Parameters
    ----------
    network : nn.Module
        The pretrained classifier; it is copied and left as it is.
    batch_norm : {"batch", "frozen", "local"}
        The batch-norm policy, see `fedsq_flwr.models.batch_norm`.
    head : str, optional
        Name of the head; by default the last linear layer.

    Attributes
    ----------
    head_only : bool
        Whether only the head learns, see `learn_head_only`.

    Raises
    ------
    ValueError
        If the policy or the head's name is unknown, or the network cannot be copied.
    """

    #: Fingerprint of the structural copy that the gates come from; empty where the network has its own ReLUs.
    fingerprint: str = ""

    def __init__(self, network: nn.Module, *, batch_norm: str = "batch", head: str | None = None) -> None:
        super().__init__()
        check_policy(batch_norm)
        self.batch_norm = batch_norm
        self.head = find_head(network, head)
        self.quantitative = copied(network)
        self.head_only = False
        self._resting: list[nn.Parameter] = []  # they learn again once the head does not learn alone
        self.train(network.training)

    def has_fingerprint(self, value: object) -> bool:
        """Return whether ``value`` is the `fingerprint`, in today's format or in that of version 0.1."""
        return value == self.fingerprint

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, classes)``."""
        return self.quantitative(images)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> "QuantitativeCopy":
        """Switch to training or evaluation mode; then apply the batch-norm policy.

        While only the head learns, the body stays in evaluation mode.
        """
        super().train(mode)
        if self.head_only and self.head is not None:
            self.quantitative.eval()
            self.quantitative.get_submodule(self.head).train(mode)
        apply_policy(self.quantitative, self.batch_norm)
        return self

    def learn_head_only(self, head_only: bool = True) -> None:
        """Let only the head learn; with False, let everything learn again that learnt before.

        While only the head learns, the body's parameters have no gradient, and the body stays in evaluation
        mode: its batch-norm statistics do not change and its dropout is off.

        Raises
        ------
        ValueError
            If the network has no linear layer and no head was named.
        """
        if head_only == self.head_only:
            return
        head = {id(p) for p in self._head_module().parameters()}
        if head_only:
            self._resting = [p for p in self.quantitative.parameters() if p.requires_grad and id(p) not in head]
        for parameter in self._resting:
            parameter.requires_grad_(not head_only)
        self.head_only = head_only
        self.train(self.training)

    def quantitative_state(self) -> dict[str, Tensor]:
        """Return the tensors that travel: name -> tensor (detached, not copied), in the network's own order.

        These are weights, biases, and the running statistics where the policy averages them; all of them are
        floating-point. Where batch norm is local, none of its tensors is among them.
        """
        own, staying = self._named_tensors(), set(staying_tensors(self.quantitative, self.batch_norm))
        names = [name for name, _ in self.quantitative.named_parameters() if name not in staying]
        names += travelling_buffers(self.quantitative, self.batch_norm)
        return {name: own[name].detach() for name in names}

    def head_state(self) -> dict[str, Tensor]:
        """Return the head's part of `quantitative_state`; empty without a head."""
        if self.head is None:
            return {}
        head, own = self._head_module(), self._named_tensors()
        within = {id(tensor) for tensor in (*head.parameters(), *head.buffers())}
        return {name: tensor for name, tensor in self.quantitative_state().items() if id(own[name]) in within}

    def local_state(self) -> dict[str, Tensor]:
        """Return the tensors that stay at the silo: name -> tensor; all of batch norm if local, else nothing."""
        own = self._named_tensors()
        return {name: own[name].detach() for name in staying_tensors(self.quantitative, self.batch_norm)}

    def load_quantitative_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state``, as made by `quantitative_state`, into the quantitative copy.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a shape differs; then nothing has been copied.
        """
        copy_state("quantitative state", self.quantitative_state(), state)

    def load_local_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state``, as made by `local_state`, into the quantitative copy.

        Raises
        ------
        ValueError
            As `load_quantitative_state`.
        """
        copy_state("local state", self.local_state(), state)

    def replace_head(
        self, classes: int, initialisation: str = "zeros", generator: torch.Generator | None = None
    ) -> None:
        """Give the quantitative copy a new linear head for ``classes`` classes.

        Parameters
        ----------
        classes : int
            Number of classes of the new task.
        initialisation : {"zeros", "normal"}
            See `fedsq_flwr.models.head.new_head`.
        generator : torch.Generator, optional
            Source of the normal draws.

        Raises
        ------
        ValueError
            If the network has no linear head, or the initialisation is unknown.
        """
        new = new_head(self._head_module(), classes, initialisation, generator)
        self.quantitative.set_submodule(str(self.head), new)

    def to_plain(self) -> nn.Module:
        """Return a copy of the quantitative network, with its own ReLUs and without a structural copy."""
        return copied(self.quantitative)

    def _head_module(self) -> nn.Module:
        if self.head is None:
            raise ValueError("the network has no linear layer: name its head by `head=`")
        return self.quantitative.get_submodule(self.head)

    def _named_tensors(self) -> dict[str, Tensor]:
        return {**dict(self.quantitative.named_parameters()), **dict(self.quantitative.named_buffers())}


def copy_state(what: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy the values of ``state`` into the tensors ``own`` of the same names: all of them or none.

    Parameters
    ----------
    what : str
        What the state is, for the error message.
    own : mapping of str to Tensor
        The tensors to write to.
    state : mapping of str to Tensor
        Tensors of the same names and shapes, on any device.

    Raises
    ------
    ValueError
        If a name is missing or unknown, or a shape differs; then nothing has been copied.
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
