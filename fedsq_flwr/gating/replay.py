"""The quantitative pass: run a network with every gate replaced by the recorded one."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedsq_flwr.gating.activations import ACTIVATIONS, Activation, read_activation
from fedsq_flwr.gating.packed.calls import ActivationGate, Gate, PackedActivation, PackedPool, PoolGate
from fedsq_flwr.gating.record import layers_by_weight, split_return_indices
from fedsq_flwr.gating.support import LAYERS, MAX_POOLS, REFUSED_CALLS, GateMismatchError, calling_layer, refusal


class Replaying(TorchFunctionMode):
    """Apply recorded gates, in call order, to a pass through the quantitative copy.

    Parameters
    ----------
    gates : sequence of Gate
        As recorded.
    pool_gates : bool
        Whether max-poolings are gated too.
    part : tuple of float
        The gates to apply: where they begin and end among all gates, in call order, as fractions of the number
        of gates (rounded up). The other calls of the pass are left as they are.
    layers : LayerNames, optional
        Those of the quantitative copy. With them a gate that was recorded in another of its layers is refused.
    network : nn.Module, optional
        The quantitative copy, of which messages name the layer at fault; by default the one of ``layers``.

    Raises
    ------
    GateMismatchError
        If a call needs a gate of another kind, shape or layer than the next recorded one, if there are too few
        recorded gates, if gates are left over when the pass ends, or if the network uses
        ``torch.utils.checkpoint``.
    UnsupportedActivationError
        At a call without fixed linear regimes that the structural pass did not make.
    """

    def __init__(
        self,
        gates: Sequence[Gate],
        *,
        pool_gates: bool,
        part: tuple[float, float] = (0.0, 1.0),
        layers: "LayerNames | None" = None,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self._network = layers.network if network is None and layers is not None else network
        self._layers = layers
        self._weight: object = None  # that of the layer that was called last
        self._gates = gates
        self._next = 0
        self._pool_gates = pool_gates
        begin, end = (ceil(place * len(gates) - 1e-9) for place in part)  # 0.55 of 20 is 11.000000000000002
        self._applied = range(begin, end)
        self._grad_enabled = torch.is_grad_enabled()
        self._around = _checkpoints() if self._grad_enabled and _may_be_checkpointed() else 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Intercept one call of torch."""
        kwargs = kwargs or {}
        place = LAYERS.get(func)
        if place is not None:
            self._weight = args[place] if len(args) > place else kwargs.get("weight")
            return func(*args, **kwargs)
        if func in ACTIVATIONS:
            return self._activation(read_activation(func, args, kwargs), partial(func, *args, **kwargs))
        if self._pool_gates and func in MAX_POOLS:
            wants_winners, args, kwargs = split_return_indices(func, args, kwargs)
            value = args[0] if args else kwargs["input"]
            gate = self._take_pool(value)
            if not self._applies:
                return func(*args, **kwargs)
            output = gate.apply(value)
            return (output, gate.winners) if wants_winners else output
        if func in REFUSED_CALLS:  # the structural pass, in evaluation mode, may have gone past it
            mode = " in training mode" if self._network is not None and self._network.training else ""
            raise refusal(self._asking, f"calls {REFUSED_CALLS[func]}{mode}, which has no fixed linear regimes")
        return func(*args, **kwargs)

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """End the pass and check that every recorded gate was used."""
        super().__exit__(exc_type, exc_value, traceback)  # type: ignore[no-untyped-call]
        if exc_type is None and self._next != len(self._gates):
            raise GateMismatchError(
                f"the quantitative pass used {self._next} gates, the structural pass recorded {len(self._gates)}"
            )

    def _activation(self, activation: Activation | None, call: Callable[[], Tensor]) -> Tensor:
        if activation is None:
            raise GateMismatchError(
                f"gate {self._next}: the activation in layer '{self._asking}' is no longer piecewise linear with "
                "constant bounds"
            )
        gate = self._take(activation.value)
        if not isinstance(gate, ActivationGate | PackedActivation):
            raise GateMismatchError(f"gate {self._next - 1}: recorded for a max-pooling, asked for by an activation")
        if gate.regimes != activation.regimes:
            raise GateMismatchError(
                f"gate {self._next - 1}: recorded for another activation than that of layer '{self._asking}': "
                f"{gate.regimes}, not {activation.regimes}"
            )
        if not self._applies:
            return call()
        return gate.apply(activation.value, in_place=activation.in_place, slope=activation.slope)

    @property
    def _asking(self) -> str:
        """The layer that is being run, for messages."""
        return "the network" if self._network is None else calling_layer(self._network)

    @property
    def _applies(self) -> bool:
        """Whether the gate that was taken last is to be applied."""
        return self._next - 1 in self._applied

    def _take_pool(self, value: Tensor) -> PoolGate | PackedPool:
        gate = self._take(value)
        if isinstance(gate, PoolGate | PackedPool):
            return gate
        raise GateMismatchError(f"gate {self._next - 1}: recorded for an activation, asked for by a max-pooling")

    def _take(self, value: Tensor) -> Gate:
        if self._grad_enabled and _may_be_checkpointed() and _checkpoints() > self._around:
            raise GateMismatchError(
                "the network uses torch.utils.checkpoint, which would run it again without its gates; switch it off"
            )
        if self._next == len(self._gates):
            raise GateMismatchError(f"layer '{self._asking}' asks for more than the {self._next} recorded gates")
        gate = self._gates[self._next]
        if gate.shape != value.shape:
            raise GateMismatchError(
                f"gate {self._next}: recorded for shape {tuple(gate.shape)}, asked for {tuple(value.shape)}"
            )
        if self._layers is not None and (layer := self._layers.other_than(gate.layer, self._weight)):
            raise GateMismatchError(
                f"gate {self._next}: recorded in layer '{gate.layer}', asked for in layer '{layer}': the "
                "quantitative pass takes another branch"
            )
        self._next += 1
        return gate


class LayerNames:
    """The layers of a network by weight, kept from pass to pass: looking them up takes a percent of a small step.

    Parameters
    ----------
    network : nn.Module
        Its weights may be replaced, and its layers may get other names. It is looked at again where that shows.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._look_up()

    def __reduce__(self) -> tuple[type["LayerNames"], tuple[nn.Module]]:
        """Copy and pickle without the names: a copy has other weights."""
        return LayerNames, (self.network,)

    def other_than(self, recorded: str | None, weight: object) -> str | None:
        """Return the name of the layer of ``weight`` if it is another one than ``recorded``, which is there too.

        A recorded layer that is not there has been wrapped since, for example by an adapter.
        """
        name = self._names.get(id(weight))
        if name == recorded or not isinstance(weight, nn.Parameter) or (name and recorded not in self._layers):
            return None
        self._look_up()
        name = self._names.get(id(weight))
        return name if name not in (None, recorded) and recorded in self._layers else None

    def _look_up(self) -> None:
        self._weights = list(self.network.parameters())  # held: no other object gets the id of one of them
        self._names = layers_by_weight(self.network)
        self._layers = frozenset(self._names.values())


def _may_be_checkpointed() -> bool:
    """Return whether activation checkpointing may be active: a cheap test before that of `_checkpoints`."""
    return not torch.is_grad_enabled() or torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def _checkpoints() -> int:
    """Return the number of frames of ``torch.utils.checkpoint`` on the call stack."""
    found, frame = 0, inspect.currentframe()
    while frame is not None:
        found += frame.f_globals.get("__name__") == "torch.utils.checkpoint"
        frame = frame.f_back
    return found
