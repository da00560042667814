"""Where the values of a pass come from, as far as its calls show it.

A pass is a sequence of calls of torch. The tensors among their arguments tell which layer made the activation that a
gate looks at, whether the head has a part in it, and whether the network uses a parameter that it has not registered.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fedsq_flwr.gating.fingerprint import gate_tensors
from fedsq_flwr.gating.support import LAYERS

#: Calls that tell Python the values of a tensor.
_READS = frozenset(
    ["item", "tolist", "numpy", "equal", "allclose", "is_nonzero", "__array__", "__contains__", "__bool__", "__int__",
     "__float__", "__complex__", "__index__"]
)  # fmt: skip

_NESTED = (list, tuple)

#: Calls that take from their second argument only the dtype, the device or the shape.
_FORMS = frozenset(("to", "type_as", "view_as", "reshape_as", "expand_as"))


class Owners:
    """Finds the layer that owns a parameter of a network; remembers the layers from pass to pass.

    Attributes
    ----------
    layers : dict of int to str
        The id of each parameter -> the name of its layer; empty for the network itself, and for tied parameters.
    head : str or None
        The head.
    guessed_head : str or None
        The head, if nobody has named it.
    fault : str or None
        Why the fingerprint cannot leave out the head, if a pass has shown it.
    passed : bool
        Whether the network has been through a whole pass.
    uncovered : frozenset of int
        The ids of the tensors that the fingerprint does not cover: the head's, and counters.
    """

    def __init__(self, head: str | None = None, guessed_head: str | None = None, fault: str | None = None) -> None:
        self.layers: dict[int, str] = {}
        self.head = head
        self.guessed_head = guessed_head
        self.fault = fault
        self.passed = False
        self.uncovered: frozenset[int] = frozenset()
        self._network: nn.Module | None = None
        self._like: nn.Module | None = None
        self._places: list[tuple[dict[str, Any], str, Tensor]] = []  # they also keep the tensors, and so their ids
        self._strange: dict[int, Tensor] = {}  # weights that have been looked for in vain

    def of(self, network: nn.Module, *, like: nn.Module | None = None) -> "Owners":
        """Bring the layers up to date and return them.

        Parameters
        ----------
        network : nn.Module
            The network of the pass.
        like : nn.Module, optional
            A network of the same structure. What it does not have, such as an adapter, counts as a part of the
            layer around it.
        """
        if network is not self._network or not all(held.get(name) is own for held, name, own in self._places):
            self._network, self._like, self._strange = network, like or network, {}
            self.find()
        return self

    def find(self) -> None:
        """Find the layers of the network anew."""
        if self._network is None or self._like is None:
            return
        known = {name for name, _ in self._like.named_modules()}
        self._places, self.layers = [], {}
        for name, module in self._network.named_modules():
            layer = name.split(".parametrizations")[0]
            while layer not in known:
                layer = layer.rpartition(".")[0]
            for held in (module._parameters, module._buffers):
                for own, tensor in held.items():
                    if tensor is not None:
                        self._places.append((held, own, tensor))
                    # At rest, the parameters of a structural copy are buffers.
                    if held is module._parameters or isinstance(tensor, nn.Parameter):
                        other = self.layers.setdefault(id(tensor), layer)
                        if other != layer:
                            self.layers[id(tensor)] = ""
        covered = {id(tensor) for _, tensor in gate_tensors(self._network, head=self.head)}
        self.uncovered = frozenset(id(tensor) for _, _, tensor in self._places if id(tensor) not in covered)

    def maker(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], last: str | None
    ) -> str | None:
        """Return the layer that makes the result of a call; None if it cannot be told.

        It is ``last``, the layer of the call before, if the call uses no parameter.
        """
        place = LAYERS.get(func)
        if place is None:
            return last
        weight = args[place] if len(args) > place else kwargs.get("weight")
        bias = args[place + 1] if len(args) > place + 1 else kwargs.get("bias")
        if weight is None and bias is None:
            return last
        if type(weight) is nn.Parameter and id(weight) not in self.layers and id(weight) not in self._strange:
            self.find()  # it has been given to the network since
            self._strange[id(weight)] = weight
        return self.layers.get(id(weight)) or self.layers.get(id(bias)) or None

    def __deepcopy__(self, memo: dict[int, object]) -> "Owners":
        """Return an empty one: a copied network has other tensors."""
        return Owners(self.head, self.guessed_head, self.fault)

    def __reduce__(self) -> tuple[type["Owners"], tuple[str | None, ...]]:
        """Pickle without the tensors."""
        return Owners, (self.head, self.guessed_head, self.fault)


class Provenance:
    """Follows one pass, call by call.

    Attributes
    ----------
    owners : Owners
        Of the network that runs.
    layer : str or None
        The layer that was called last, if it is known.
    linear : str or None
        The layer that was called last by `F.linear`, if it is known.
    foreign : bool
        Whether the last call used a parameter that the network has not registered.
    """

    def __init__(self, owners: Owners) -> None:
        self.layer: str | None = None
        self.linear: str | None = None
        self.foreign = False
        self.owners = owners
        self._marked = set(owners.uncovered)
        self._kept: list[Tensor] = []  # an id is a tensor's own for as long as the tensor exists
        self._was_read = False

    def note(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Take note of a call and its result."""
        if func in LAYERS:
            self.layer = self.owners.maker(func, args, kwargs, self.layer)
            if func is F.linear:
                self.linear = self.layer
        values = (*args, *kwargs.values()) if kwargs else args
        if values and (type(values[0]) in _NESTED or type(values[-1]) in _NESTED):  # as in `torch.cat`, or an index
            values = tuple(_flat(values))
        known, strange = self.owners.layers, False
        for value in values:
            if type(value) is nn.Parameter and id(value) not in known:
                strange = True
        self.foreign = strange and bool(_tensors(result))
        if not self._marked.isdisjoint(map(id, values)):
            self._spread(getattr(func, "__name__", ""), args, result)

    def is_marked(self, value: Tensor) -> bool:
        """Return whether something that the fingerprint does not cover has a part in ``value``."""
        return self._was_read or id(value) in self._marked or id(value._base) in self._marked

    def _spread(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        first = args[0] if args else None
        if name in _READS:
            self._was_read = True
        if name.endswith("_like") or name.startswith("new_") or (name in _FORMS and id(first) not in self._marked):
            return
        for tensor in _tensors((result, first if name == "__setitem__" else None)):
            for each in (tensor, tensor._base):
                if each is not None:
                    self._marked.add(id(each))
                    self._kept.append(each)


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in _flat((values,)) if isinstance(value, Tensor)]
