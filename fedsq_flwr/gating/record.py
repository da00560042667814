"""The structural pass: run a network and record every gate, in the order of the calls.

A `TorchFunctionMode` intercepts each activation and each max-pooling however it is written (as a module, function or
method, in place or not, a module called twice), so no network has to be rewritten.
"""

import inspect
from collections.abc import Callable, Container, Mapping
from contextlib import nullcontext
from functools import partial
from types import CodeType, FunctionType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedsq_flwr.gating.activations import ACTIVATIONS, Activation, read_activation
from fedsq_flwr.gating.packed.calls import ActivationGate, Gate, PackedActivation, PackedPool, PoolGate
from fedsq_flwr.gating.packed.layout import ActivationLayout, PoolLayout
from fedsq_flwr.gating.packed.regimes import Regimes
from fedsq_flwr.gating.packed.winners import Pooling, WinnerCode
from fedsq_flwr.gating.support import (
    LAYERS,
    MAX_POOLS,
    REFUSED_CALLS,
    TRAINING_ARGUMENTS,
    GateMismatchError,
    UnsupportedActivationError,
    calling_layer,
    refusal,
)

_ADAPTIVE = (
    F.adaptive_max_pool1d_with_indices,
    F.adaptive_max_pool2d_with_indices,
    F.adaptive_max_pool3d_with_indices,
)


class Recording(TorchFunctionMode):
    """Record the gates of a pass through ``network``.

    Parameters
    ----------
    network : nn.Module
        The structural copy. Each gate knows the layer whose weight made its input, and a parameter that is not
        registered is refused: the fingerprint would not cover it.
    pool_gates : bool
        Whether max-pooling winners are gates too.
    copy_masks : bool
        Keep a boolean copy of each ReLU's mask instead of a reference to its output. Networks that write to a
        ReLU's output afterwards (``y = relu(x); y += 1``) need it.
    packed : int, optional
        The number of images, to pack the gates of each call when the call is made; by default they are not packed.

    Attributes
    ----------
    gates : list of Gate
        In call order.
    layer : str or None
        The layer that was called last, if it is known.

    Raises
    ------
    UnsupportedActivationError
        During the pass, at a call without fixed linear regimes; the message names the layer.
    GateMismatchError
        During the pass, where gates are to be packed and do not lie image by image.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        pool_gates: bool,
        copy_masks: bool = False,
        packed: int | None = None,
    ) -> None:
        super().__init__()
        self.gates: list[Gate] = []
        self.network = network
        self._pool_gates = pool_gates
        self._copy_masks = copy_masks
        self._packed = packed
        self._layers = layers_by_weight(network)
        self.layer: str | None = None
        self._level = _transforms()
        self._forwards = _forward_passes()
        self._around = _running(self._forwards)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Intercept one call of torch."""
        kwargs = kwargs or {}
        if func in LAYERS:
            self.layer = layer_of(func, args, kwargs, self._layers)
        activation = read_activation(func, args, kwargs) if func in ACTIVATIONS else None
        if activation is not None:
            result = self._activation(activation, partial(func, *args, **kwargs))
        elif self._pool_gates and func in MAX_POOLS:
            result = self._max_pool(func, args, kwargs)
        elif func in REFUSED_CALLS:
            raise self._refusal(f"calls {REFUSED_CALLS[func]}, which has no fixed linear regimes")
        elif func in TRAINING_ARGUMENTS and _trains(func, args, kwargs):
            raise UnsupportedActivationError(
                f"layer '{calling_layer(self.network)}' calls {func.__name__} as in training, but the structural "
                "copy is in evaluation mode: the gates of an image would depend on its batch or on chance"
            )
        else:
            result = func(*args, **kwargs)
        if isinstance(result, Tensor) and any(self._is_foreign(value) for value in (*args, *kwargs.values())):
            raise self._refusal("uses a parameter that is not registered in the network")
        return result

    def _activation(self, activation: Activation, call: Callable[[], Tensor]) -> Tensor:
        layer = self.begin_gate(activation.value)
        own_marks = None
        if activation.marks is not None:
            with torch._C.DisableTorchFunction():  # no call of the network: outer modes must not see it
                value = activation.value.detach()
                # Half precision is compared in single precision, as torch's activations do.
                own_marks = activation.marks(value.to(torch.promote_types(value.dtype, torch.float32)))
        output = call()
        marks = output if own_marks is None else own_marks
        if self._packed is not None:
            self.gates.append(_pack_activation(marks, output, layer, activation.regimes))
        # Tensors of inference mode have no version counter, which shows later writes.
        elif own_marks is None and not (self._copy_masks or output.is_inference()):
            self.gates.append(ActivationGate(output, output._version, layer, activation.regimes))
        else:
            own_marks = output > 0 if own_marks is None else own_marks
            self.gates.append(ActivationGate(own_marks, None, layer, activation.regimes))
        return output

    def _max_pool(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with_indices, spatial_dims = MAX_POOLS[func]
        wants_winners, args, kwargs = split_return_indices(func, args, kwargs)
        value, others = (args[0], args[1:]) if args else (kwargs.pop("input"), ())
        layer = self.begin_gate(value)
        pooling = partial(_pool, with_indices, others, kwargs)
        output, winners = pooling(value)
        plane = tuple(value.shape[-spatial_dims:])
        if self._packed is not None:
            self.gates.append(_pack_pool(winners, plane, pooling, layer))
        else:
            self.gates.append(PoolGate(winners, plane, layer))
        return (output, winners) if wants_winners else output

    def begin_gate(self, value: Tensor) -> str | None:
        """Refuse a gate that cannot be fixed; return the layer that made its input, if known."""
        if _transforms() != self._level:
            raise self._refusal("has gates within torch.vmap or another transform of torch.func")
        if _running(self._forwards) > self._around:
            raise self._refusal("takes a gate within an autograd.Function, whose own backward pass would not have it")
        if self._packed is not None and (value.dim() == 0 or len(value) != self._packed):
            raise GateMismatchError(
                f"layer '{calling_layer(self.network)}': gates of shape {tuple(value.shape)} for {self._packed} "
                f"images do not lie image by image, so they cannot be cached: do without the gate cache"
            )
        return self.layer

    def _is_foreign(self, value: Any) -> bool:
        if type(value) is not nn.Parameter or id(value) in self._layers:
            return False
        # It may have been registered since, or be the parameter of a dual copy within the network.
        return all(value is not own for own in (*self.network.parameters(), *self.network.buffers()))

    def _refusal(self, reason: str) -> UnsupportedActivationError:
        return refusal(calling_layer(self.network), reason)


def _pack_activation(marks: Tensor, output: Tensor, layer: str | None, regimes: Regimes) -> PackedActivation:
    with torch._C.DisableTorchFunction():  # packing is no call of the network: outer modes must not see it
        layout = ActivationLayout.of(output, layer, regimes)
        return PackedActivation(layout, layout.pack(marks))


def _pack_pool(winners: Tensor, plane: tuple[int, ...], pooling: Pooling, layer: str | None) -> PackedPool:
    with torch._C.DisableTorchFunction():
        layout = PoolLayout(tuple(winners.shape[1:]), plane, WinnerCode.of(pooling, plane), layer)
        return PackedPool(layout, layout.pack(winners))


def _pool(
    with_indices: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], value: Tensor
) -> tuple[Tensor, Tensor]:
    output, winners = with_indices(value, *args, **kwargs)
    return output, winners


def _trains(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    place, default = TRAINING_ARGUMENTS[func]
    given = args[place] if len(args) > place else default
    return bool(kwargs.get("training", kwargs.get("train", given)))


def _transforms() -> int | None:
    """Return the level of the innermost transform of ``torch.func`` that is active; None without any."""
    level: int | None = torch._C._functorch.maybe_current_level()
    return level


def _forward_passes() -> frozenset[CodeType]:
    """Return the code of the forward passes of all subclasses of ``autograd.Function``.

    That of activation checkpointing is not among them: it runs the network again, which is refused as what it is.
    """
    forwards, classes = set(), [torch.autograd.Function]
    while classes:
        classes += (found := classes.pop()).__subclasses__()
        if isinstance(found.forward, FunctionType) and found.__module__ != "torch.utils.checkpoint":
            forwards.add(found.forward.__code__)
    return frozenset(forwards)


def _running(codes: Container[CodeType]) -> int:
    """Return how many functions with one of these codes are being run."""
    found, frame = 0, inspect.currentframe()
    while frame is not None:
        found += frame.f_code in codes
        frame = frame.f_back
    return found


def layers_by_weight(network: nn.Module) -> dict[int, str]:
    """Return the id of each parameter -> the name of its layer; of a parameter that is no weight, its own name."""
    return {id(parameter): name.removesuffix(".weight") for name, parameter in network.named_parameters()}


def layer_of(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], layers: Mapping[int, str]
) -> str | None:
    """Return the layer that makes the result of one of the `LAYERS` calls; None if it is not known."""
    place = LAYERS[func]
    return layers.get(id(args[place] if len(args) > place else kwargs.get("weight")))


def split_return_indices(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[bool, tuple[Any, ...], dict[str, Any]]:
    """Remove ``return_indices`` from the arguments of a max-pooling call, for its with-indices form.

    Returns
    -------
    (bool, tuple, dict)
        Whether the call returns indices, and its remaining arguments.
    """
    adaptive = MAX_POOLS[func][0] in _ADAPTIVE
    place = 2 if adaptive else 6  # its position in torch's signatures
    kwargs = dict(kwargs)
    wants = bool(kwargs.pop("return_indices", args[place] if len(args) > place else False))
    always = func.__name__.endswith("_with_indices") or func is torch.adaptive_max_pool1d
    return wants or always, args[:place], kwargs


def record(network: nn.Module, images: Tensor, *, pool_gates: bool) -> tuple[list[Gate], Tensor]:
    """Run ``network`` without gradients and return its gates, in call order, and its output.

    The gates refer to the outputs of the ReLUs, so that recording copies nothing. If the network writes to a
    ReLU's output afterwards, it is run a second time and the masks are copied.
    """
    gates, output = _record(Recording(network, pool_gates=pool_gates), images)
    if all(gate.is_intact() for gate in gates if isinstance(gate, ActivationGate)):
        return gates, output
    return _record(Recording(network, pool_gates=pool_gates, copy_masks=True), images)


def record_packed(network: nn.Module, images: Tensor, *, pool_gates: bool) -> list[PackedActivation | PackedPool]:
    """Run ``network`` without gradients and return its packed gates, in call order."""
    gates, _ = _record(Recording(network, pool_gates=pool_gates, packed=len(images)), images)
    return [gate for gate in gates if isinstance(gate, PackedActivation | PackedPool)]


def _record(recording: Recording, images: Tensor) -> tuple[list[Gate], Tensor]:
    # Not in inference mode: its tensors cannot be used in the backward pass of the quantitative copy. The images are
    # copied, because the network may write to them.
    outside = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with outside, torch.no_grad():
        own = images.detach().clone()
        with recording:
            output = recording.network(own)
    return recording.gates, output
