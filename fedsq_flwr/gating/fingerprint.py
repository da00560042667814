"""A name for the gates: what determines them, and nothing else, hashed.

Two silos with the same fingerprint give the same gates to the same image. It covers the names, shapes,
dtypes and bytes of weights and statistics, each module's class and hyperparameters (``extra_repr``: a
stride changes gates and no weight), and the gating options. It leaves out the head, which comes after
the last gate, and ``num_batches_tracked``, which evaluation does not use.
"""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def structure_fingerprint(network: nn.Module, *, head: str | None, pool_gates: bool) -> str:
    """Return the sha256 (64 hexadecimal digits) of what determines the gates of ``network``.

    Parameters
    ----------
    network : nn.Module
        The structural copy; its tensors may be parameters or buffers, on any device.
    head : str or None
        Name of the module that is left out.
    pool_gates : bool
        Whether max-pooling winners are gates.
    """
    digest = hashlib.sha256(f"fedsq-gates-1|pool_gates={pool_gates}".encode())
    for name, module in network.named_modules():
        if not _within(name, head):
            digest.update(f"|{name}:{type(module).__qualname__}({module.extra_repr()})".encode())
    for name, tensor in gate_tensors(network, head=head):
        digest.update(f"|{name}:{tuple(tensor.shape)}:{tensor.dtype}=".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def gate_tensors(network: nn.Module, *, head: str | None) -> Iterator[tuple[str, Tensor]]:
    """Yield, by name, the tensors that determine the gates: not the head's, nor ``num_batches_tracked``."""
    # One sorted list, so that it does not matter which tensors are parameters and which are buffers.
    for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()], key=lambda item: item[0]):
        if not _within(name, head) and not name.endswith("num_batches_tracked"):
            yield name, tensor


def _within(name: str, head: str | None) -> bool:
    return head is not None and (name == head or name.startswith(f"{head}."))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
