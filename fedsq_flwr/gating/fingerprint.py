"""The fingerprint of a structure: a hash of everything that determines its gates, and of nothing else.

Two silos with the same fingerprint compute the same gates for the same image. The fingerprint covers the names,
shapes, dtypes and bytes of weights and statistics, the class and the hyperparameters of each module (its
``extra_repr``: a stride changes gates but no weight), and the gating options. It does not cover the head, which
comes after the last gate, nor ``num_batches_tracked``, which evaluation does not use.
"""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Fingerprint:
    """The fingerprint of a network, computed again only when something that it covers has changed.

    Hashing the half gigabyte of a VGG takes a third of a second, and a silo needs the fingerprint several times
    for each message. A change is noticed if a tensor is another object or was written to (torch counts writes,
    except those through ``.data``), and if the description of the modules differs.
    """

    def __init__(self) -> None:
        self._seen: tuple[str, list[tuple[Tensor, int]]] | None = None
        self._value = ""

    def of(self, network: nn.Module, *, head: str | None, pool_gates: bool) -> str:
        """Return the `structure_fingerprint` of ``network``."""
        named = list(gate_tensors(network, head=head))
        described = "|".join([_description(network, head=head, pool_gates=pool_gates), *(name for name, _ in named)])
        tensors = [tensor for _, tensor in named]
        if any(tensor.is_inference() for tensor in tensors):  # tensors of inference mode do not count writes
            return structure_fingerprint(network, head=head, pool_gates=pool_gates)
        if self._seen is None or self._seen[0] != described or not _same(self._seen[1], tensors):
            self._value = structure_fingerprint(network, head=head, pool_gates=pool_gates)
            self._seen = described, [(tensor, tensor._version) for tensor in tensors]
        return self._value

    def __deepcopy__(self, memo: dict[int, object]) -> "Fingerprint":
        """Return an empty one: the tensors of a copied network are other objects."""
        return Fingerprint()

    def __reduce__(self) -> tuple[type["Fingerprint"], tuple[()]]:
        """Pickle without the tensors."""
        return Fingerprint, ()


def _same(seen: list[tuple[Tensor, int]], tensors: list[Tensor]) -> bool:
    return len(seen) == len(tensors) and all(
        old is new and version == new._version for (old, version), new in zip(seen, tensors, strict=True)
    )


def structure_fingerprint(network: nn.Module, *, head: str | None, pool_gates: bool) -> str:
    """Return the sha256 (64 hexadecimal digits) of what determines the gates of ``network``.

    Parameters
    ----------
    network : nn.Module
        The structural copy; its tensors may be parameters or buffers, on any device.
    head : str or None
        Name of the module that the fingerprint does not cover.
    pool_gates : bool
        Whether max-pooling winners are gates.
    """
    digest = hashlib.sha256(_description(network, head=head, pool_gates=pool_gates).encode())
    for name, tensor in gate_tensors(network, head=head):
        digest.update(f"|{name}:{tuple(tensor.shape)}:{tensor.dtype}=".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def gate_tensors(network: nn.Module, *, head: str | None) -> Iterator[tuple[str, Tensor]]:
    """Yield, by name, the tensors that determine the gates: not the head's, nor ``num_batches_tracked``."""
    # Sorted together, so that a tensor may be a parameter or a buffer.
    for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()], key=lambda item: item[0]):
        if not _within(name, head) and not name.endswith("num_batches_tracked"):
            yield name, tensor


def _description(network: nn.Module, *, head: str | None, pool_gates: bool) -> str:
    modules = (
        f"|{name}:{type(module).__qualname__}({module.extra_repr()})"
        for name, module in network.named_modules()
        if not _within(name, head)
    )
    return f"fedsq-gates-1|pool_gates={pool_gates}{''.join(modules)}"


def _within(name: str, head: str | None) -> bool:
    return head is not None and (name == head or name.startswith(f"{head}."))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
