"""Frozen tensors: buffers while the structural copy rests, its own parameters while it runs.

At rest they are buffers, so that no optimiser takes them. Within a pass the network finds them where it put them:
``next(self.parameters()).device``, ``for gain in self.gains.parameters()`` and ``self._parameters`` give what they
give in the plain network, without gradients.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_

from torch import nn

#: Attribute of each frozen module: the names of its parameters.
_NAMES = "_fedsq_frozen"


def freeze(network: nn.Module) -> None:
    """Turn every parameter of ``network`` into a buffer without gradient, in place."""
    for module in network.modules():
        names = tuple(name for name, parameter in module._parameters.items() if parameter is not None)
        if names and module.__dict__.get(_NAMES) != names:
            module.__dict__[_NAMES] = names
        for name in names:
            parameter = module._parameters.pop(name)
            if parameter is not None and parameter.requires_grad and parameter.is_leaf:
                parameter.requires_grad_(False).grad = None
            module._buffers[name] = parameter


def has_parameters(module: nn.Module) -> bool:
    """Return whether ``module`` itself has parameters, frozen or not."""
    return _NAMES in vars(module) or any(parameter is not None for parameter in module._parameters.values())


def _thaw(network: nn.Module) -> None:
    """Turn the buffers that `freeze` made into parameters."""
    for module in network.modules():
        for name in module.__dict__.get(_NAMES, ()):
            if name in module._buffers:
                module._parameters[name] = module._buffers.pop(name)  # type: ignore[assignment]


class Thawing:
    """Shows frozen tensors as parameters for a time; one thread at a time, since modules are shared."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    @contextmanager
    def of(self, network: nn.Module) -> Iterator[None]:
        """Show the frozen tensors of ``network`` as its parameters within the context."""
        with self.lock:
            _thaw(network)
            try:
                yield
            finally:
                freeze(network)

    def __deepcopy__(self, memo: dict[int, object]) -> "Thawing":
        """Return a new one: locks are not copied."""
        return Thawing()

    def __reduce__(self) -> tuple[type["Thawing"], tuple[()]]:
        """Pickle without the lock."""
        return Thawing, ()


class Traces:
    """What passes set on the modules of a network, such as the size of the last images.

    It is taken back after each pass: neither gates nor fingerprint depend on earlier passes.
    """

    def __init__(self) -> None:
        self._names: set[tuple[str, str]] = set()  # (module, attribute)

    @contextmanager
    def removed(self, network: nn.Module) -> Iterator[None]:
        """Take back at the end of the context what has been set within."""
        before = [(name, module.__dict__, dict(module.__dict__)) for name, module in network.named_modules()]
        try:
            yield
        finally:
            for name, held, kept in before:
                if len(held) == len(kept) and all(map(is_, held.values(), kept.values())):
                    continue
                own = {key for key, value in held.items() if key not in kept or kept[key] is not value}
                for key in own - kept.keys():
                    del held[key]
                held.update(kept)
                self._names |= {(name, key) for key in own}

    def carry_over(self, old: nn.Module, new: nn.Module) -> None:
        """Give ``new``, another state of ``old`` that has been through passes, what ``old`` has instead of traces."""
        modules, others = dict(old.named_modules()), dict(new.named_modules())
        for name, key in self._names:
            if name in modules and name in others:
                held, kept = others[name].__dict__, modules[name].__dict__
                held.pop(key, None)
                if key in kept:
                    held[key] = kept[key]
