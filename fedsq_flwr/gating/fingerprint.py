"""The fingerprint of a structure: a hash of everything that determines its gates, and of nothing else.

Two silos with the same fingerprint compute the same gates for the same image. The fingerprint covers

* the names, shapes, dtypes and bytes of weights and statistics;
* the class of each module, its ``extra_repr`` (a stride changes gates but no weight), and its public attributes of
  type bool, int, float and str, plain tensors, functions (by their name, and the names and constants within), and
  tuples and lists of them;
* the gating options.

It does not cover the head, which comes after the last gate (see `head_check`), nor ``num_batches_tracked``, which
evaluation does not use.

This is format 2. Format 1, of version 0.1, had no attributes; it is still computed to restore the runs of that
version.
"""

import hashlib
from collections.abc import Iterator
from functools import partial
from itertools import chain
from operator import is_
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from fedsq_flwr.gating.frozen import has_parameters

#: Public attributes that differ between silos, or between the passes of one, and change no gate.
_NOT_COVERED = ("training", "device")


class Fingerprint:
    """The fingerprint of a network, computed again only when something that it covers may have changed.

    Hashing the half gigabyte of a VGG takes a third of a second, and a silo needs the fingerprint in every step. A
    change is noticed if a module holds another object than before, or a tensor was written to (torch counts writes,
    except those through ``.data``).
    """

    def __init__(self) -> None:
        self._of: tuple[nn.Module, str | None, bool] | None = None
        self._held: list[dict[str, Any]] = []  # what modules hold; then: how much, and what one after the other
        self._sizes: list[int] = []
        self._values: list[object] = []
        self._tensors: list[Tensor] = []
        self._versions: list[int] = []
        self._value = ""

    def of(self, network: nn.Module, *, head: str | None, pool_gates: bool) -> str:
        """Return the `structure_fingerprint` of ``network``."""
        if self._of != (network, head, pool_gates) or not self._is_fresh():
            self._value = structure_fingerprint(network, head=head, pool_gates=pool_gates)
            self._held = [
                held
                for module in network.modules()
                for held in (vars(module), module._parameters, module._buffers, module._modules)
            ]
            self._sizes = [len(held) for held in self._held]
            self._values = list(self._walk())
            tensors = [value for value in self._values if isinstance(value, Tensor)]
            counted = not any(tensor.is_inference() for tensor in tensors)  # these do not count writes
            self._of = (network, head, pool_gates) if counted else None
            self._tensors = tensors if counted else []
            self._versions = [tensor._version for tensor in self._tensors]
        return self._value

    def _walk(self) -> Iterator[object]:
        return chain.from_iterable(map(dict.values, self._held))

    def _is_fresh(self) -> bool:
        # In each step of training: few, long loops within the interpreter instead of many short ones.
        return (
            [tensor._version for tensor in self._tensors] == self._versions
            and list(map(len, self._held)) == self._sizes
            and all(map(is_, self._walk(), self._values))
        )

    def __deepcopy__(self, memo: dict[int, object]) -> "Fingerprint":
        """Return an empty one: the tensors of a copied network are other objects."""
        return Fingerprint()

    def __reduce__(self) -> tuple[type["Fingerprint"], tuple[()]]:
        """Pickle without the tensors."""
        return Fingerprint, ()


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
    for name, tensor in gate_tensors(network, head=head):
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


def _details(module: nn.Module, version: int) -> str:
    if version == 1:
        return module.extra_repr()
    # The extra_repr of these two names the device.
    shown = "" if isinstance(module, nn.ParameterList | nn.ParameterDict) else module.extra_repr()
    attributes: dict[str, object] = {}
    for owner in reversed(type(module).__mro__[: type(module).__mro__.index(nn.Module)]):
        attributes |= {name: value for name, value in vars(owner).items() if not callable(value)}
    attributes |= vars(module)
    told = {name: _told(value) for name, value in sorted(attributes.items()) if _is_public(name)}
    return f"{shown};{','.join(f'{name}={text}' for name, text in told.items() if text is not None)}"


def _is_public(name: str) -> bool:
    return not name.startswith("_") and name not in _NOT_COVERED


def _told(value: object) -> str | None:
    """Return the text of a plain value, the same on every machine; None for any other object."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)}:{value.dtype}:{hashlib.sha256(_bytes(value)).hexdigest()}"
    for kind in (bool, int, float, str):  # a subclass, such as a number of numpy, may have a repr of its own
        if isinstance(value, kind):
            return repr(kind(value))
    if isinstance(value, tuple | list):
        parts = [part for each in value if (part := _told(each)) is not None]
        return f"({', '.join(parts)})" if len(parts) == len(value) else None
    return _told_function(value)


def _told_function(value: object) -> str | None:
    """Return the name of a function, and what tells lambdas apart: the names and constants in their code."""
    if isinstance(value, partial):
        bound = [(name, _told(each)) for name, each in sorted(value.keywords.items())]
        return f"partial({_told_function(value.func)}, {[_told(each) for each in value.args]}, {bound})"
    if isinstance(value, FunctionType):
        code = value.__code__
        inside = [_told(each) for each in code.co_consts]
        return f"{value.__module__}.{value.__qualname__}:{code.co_names}:{inside}"
    return f"{value.__module__}.{value.__qualname__}" if isinstance(value, BuiltinFunctionType) else None


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
