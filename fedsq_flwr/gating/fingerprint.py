"""The fingerprint of a structure: a hash of everything that determines its gates, and of nothing else.

Two silos with the same fingerprint compute the same gates for the same image. The fingerprint covers

* the names, shapes, dtypes and bytes of weights, statistics and other tensors that modules hold;
* the class of each module, its ``extra_repr``, and its public attributes that are numbers, flags, strings, functions
  or tuples of them: a stride changes gates but no weight;
* the gating options.

It does not cover the head, nor ``num_batches_tracked``, which evaluation does not use. A structural pass in which
one of them has a part in a gate is refused (see `fedsq_flwr.gating.provenance`).

This is format 2. Version 0.1 computed format 1, without attributes. `Fingerprint.matches` knows both, so that the
runs of version 0.1 can be restored.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import eq, is_, itemgetter
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedsq_flwr.gating.frozen import has_parameters

#: Public attributes that differ between silos, or between the passes of one, and change no gate.
_NOT_COVERED = ("training", "device")


class Fingerprint:
    """The fingerprint of a network, computed again only when something that it covers has changed.

    Hashing the half gigabyte of a VGG takes a third of a second, and a silo needs the fingerprint several times
    for each message. A change is noticed if a tensor is another object or was written to (torch counts writes,
    except those through ``.data``), and if the description of the modules differs.
    """

    def __init__(self) -> None:
        self._seen: _Seen | None = None
        self._value = ""

    def of(self, network: nn.Module, *, head: str | None, pool_gates: bool) -> str:
        """Return the `structure_fingerprint` of ``network``."""
        described = describe(network, head=head, pool_gates=pool_gates)
        tensors = [tensor for _, tensor in _covered_tensors(network, head=head)]
        if any(tensor.is_inference() for tensor in tensors):  # tensors of inference mode do not count writes
            return structure_fingerprint(network, head=head, pool_gates=pool_gates)
        if self._seen is None or self._seen.described != described or not self._seen.has(tensors):
            self._value = structure_fingerprint(network, head=head, pool_gates=pool_gates)
        self._seen = _Seen.of(network, (head, pool_gates), described, tensors)
        return self._value

    def at_a_glance(self, network: nn.Module, *, head: str | None, pool_gates: bool) -> str:
        """Return the same as `of`, in microseconds if every object is as it was: once in every training step."""
        if self._seen is not None and self._seen.is_still(network, (head, pool_gates)):
            return self._value
        return self.of(network, head=head, pool_gates=pool_gates)

    def matches(self, value: object, network: nn.Module, *, head: str | None, pool_gates: bool) -> bool:
        """Return whether ``value`` is the fingerprint of ``network``, in format 2 or in format 1."""
        if value == self.of(network, head=head, pool_gates=pool_gates):
            return True
        return value == structure_fingerprint(network, head=head, pool_gates=pool_gates, version=1)

    def __deepcopy__(self, memo: dict[int, object]) -> "Fingerprint":
        """Return an empty one: the tensors of a copied network are other objects."""
        return Fingerprint()

    def __reduce__(self) -> tuple[type["Fingerprint"], tuple[()]]:
        """Pickle without the tensors."""
        return Fingerprint, ()


@dataclass(frozen=True)
class _Seen:
    """What a fingerprint was computed of: tensors with their write counts, attributes and members of all modules."""

    network: nn.Module
    options: tuple[str | None, bool]
    described: str
    tensors: list[Tensor]
    versions: list[int]
    attributes: Sequence[tuple[dict[str, Any], Callable[[dict[str, Any]], object], object]]
    held: list[dict[str, Any]]
    before: list[dict[str, Any]]

    @classmethod
    def of(
        cls, network: nn.Module, options: tuple[str | None, bool], described: str, tensors: list[Tensor]
    ) -> "_Seen":
        modules = list(network.modules())
        attributes = [
            (module.__dict__, itemgetter(*names), itemgetter(*names)(module.__dict__))
            for module in modules
            if (names := [name for name in module.__dict__ if _is_covered(name)])
        ]
        held = [each for m in modules for each in (m._parameters, m._buffers, m._modules) if each]
        versions = [tensor._version for tensor in tensors]
        return cls(network, options, described, tensors, versions, attributes, held, [dict(each) for each in held])

    def has(self, tensors: list[Tensor]) -> bool:
        same = len(self.tensors) == len(tensors) and all(map(is_, self.tensors, tensors))
        return same and not self._written()

    def _written(self) -> bool:
        return self.versions != [tensor._version for tensor in self.tensors]

    def is_still(self, network: nn.Module, options: tuple[str | None, bool]) -> bool:
        if network is not self.network or options != self.options:
            return False
        try:
            return (
                not self._written()
                and all(map(eq, self.held, self.before))
                and all(get(held) == value for held, get, value in self.attributes)
            )
        except (RuntimeError, ValueError, KeyError):  # another tensor has no truth value; an attribute is missing
            return False


def structure_fingerprint(network: nn.Module, *, head: str | None, pool_gates: bool, version: int = 2) -> str:
    """Return the sha256 (64 hexadecimal digits) of what determines the gates of ``network``.

    Parameters
    ----------
    network : nn.Module
        The structural copy; its tensors may be parameters or buffers, on any device.
    head : str or None
        Name of the module that the fingerprint does not cover.
    pool_gates : bool
        Whether max-pooling winners are gates.
    version : {2, 1}
        The format.
    """
    digest = hashlib.sha256(describe(network, head=head, pool_gates=pool_gates, version=version).encode())
    tensors = gate_tensors(network, head=head) if version == 1 else _covered_tensors(network, head=head)
    for name, tensor in tensors:
        digest.update(f"|{name}:{tuple(tensor.shape)}:{tensor.dtype}=".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def gate_tensors(network: nn.Module, *, head: str | None) -> Iterator[tuple[str, Tensor]]:
    """Yield, by name, the parameters and buffers that determine the gates: neither the head's nor counters."""
    named = [
        (f"{name}.{own}" if name else own, tensor)
        for name, module in _covered_modules(network, head=head)
        for held in (module._parameters, module._buffers)
        for own, tensor in held.items()
        if tensor is not None
    ]
    # Sorted together, so that a tensor may be a parameter or a buffer.
    for name, tensor in sorted(named, key=lambda item: item[0]):
        if not name.endswith("num_batches_tracked"):
            yield name, tensor


def describe(network: nn.Module, *, head: str | None, pool_gates: bool, version: int = 2) -> str:
    """Return what the fingerprint covers beside tensors: the modules by name, and the gating options."""
    modules = (
        f"|{name}:{type(module).__qualname__}({_details(module, version)})"
        for name, module in _covered_modules(network, head=head, whole=version == 1)
    )
    return f"fedsq-gates-{version}|pool_gates={pool_gates}{''.join(modules)}"


def _covered_modules(network: nn.Module, *, head: str | None, whole: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """Yield each module once, under its first name that is not within the head.

    Without ``whole``, only those parts of the head are left out that have parameters: a head of several layers may
    begin with a pooling or a ReLU.
    """
    seen = set()
    for name, module in network.named_modules(remove_duplicate=False):
        within = head is not None and (name == head or name.startswith(f"{head}."))
        if module not in seen and not (within and (whole or has_parameters(module))):
            seen.add(module)
            yield name, module


def _covered_tensors(network: nn.Module, *, head: str | None) -> Iterator[tuple[str, Tensor]]:
    """Yield the `gate_tensors`, then the plain tensors among the public attributes of modules."""
    yield from gate_tensors(network, head=head)
    for name, module in _covered_modules(network, head=head):
        for own, value in sorted(vars(module).items()):
            if isinstance(value, Tensor) and _is_covered(own):
                yield f"{name}.{own}", value


def _details(module: nn.Module, version: int) -> str:
    if version == 1:
        return module.extra_repr()
    # The extra_repr of these two names the device.
    shown = "" if isinstance(module, nn.ParameterList | nn.ParameterDict) else module.extra_repr()
    attributes: dict[str, object] = {}
    for owner in reversed(type(module).__mro__[: type(module).__mro__.index(nn.Module)]):
        attributes |= {name: value for name, value in vars(owner).items() if not callable(value)}
    attributes |= vars(module)
    told = {name: _told(value) for name, value in attributes.items() if _is_covered(name)}
    return f"{shown};{','.join(f'{name}={value}' for name, value in sorted(told.items()) if value is not None)}"


def _is_covered(attribute: str) -> bool:
    return not attribute.startswith("_") and attribute not in _NOT_COVERED


def _told(value: object) -> str | None:
    """Return the text of a plain value, the same on every machine; None for any other object."""
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, np.generic):
        value = value.item()
    for kind in (bool, int, float, str):  # a subclass may have a repr of its own
        if isinstance(value, kind):
            return repr(kind(value))
    if value is None or isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, FunctionType | BuiltinFunctionType | type):
        return f"<{value.__name__}>"
    if isinstance(value, tuple | list):
        parts = [_told(part) for part in value]
        return None if None in parts else f"({', '.join(str(part) for part in parts)})"
    return None


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
