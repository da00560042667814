"""The structural pass: run a network and record every gate, in the order of the calls.

A `TorchFunctionMode` intercepts each ReLU and each max-pooling however it is written (as a module, function or
method, in place or not, a module called twice), so no network has to be rewritten.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedsq_flwr.gating.packed.calls import Gate, PackedPool, PackedRelu, PoolGate, ReluGate
from fedsq_flwr.gating.packed.layout import PoolLayout, ReluLayout
from fedsq_flwr.gating.packed.winners import Pooling, WinnerCode
from fedsq_flwr.gating.support import (
    MAX_POOLS,
    REFUSED_CALLS,
    RELUS,
    TRAINING_ARGUMENTS,
    UnsupportedActivationError,
    calling_layer,
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
        The structural copy, used to name layers in errors.
    pool_gates : bool
        Whether max-pooling winners are gates too.
    copy_masks : bool
        Keep a boolean copy of each ReLU's mask instead of a reference to its output. Networks that write to a
        ReLU's output afterwards (``y = relu(x); y += 1``) need it.
    packed : bool
        Pack the gates of each call when the call is made.

    Raises
    ------
    UnsupportedActivationError
        During the pass, at a call without binary gates; the message names the layer.
    """

    def __init__(
        self, network: nn.Module, *, pool_gates: bool, copy_masks: bool = False, packed: bool = False
    ) -> None:
        super().__init__()
        self.gates: list[Gate] = []
        self._network = network
        self._pool_gates = pool_gates
        self._copy_masks = copy_masks
        self._packed = packed

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Intercept one call of torch."""
        kwargs = kwargs or {}
        if func in RELUS:
            return self._relu(func(*args, **kwargs))
        if self._pool_gates and func in MAX_POOLS:
            return self._max_pool(func, args, kwargs)
        if func in REFUSED_CALLS:
            raise UnsupportedActivationError(
                f"layer '{calling_layer(self._network)}' calls {REFUSED_CALLS[func]}, which has no binary gates; "
                "fixed gating takes affine layers, ReLUs, max-pooling, batch normalisation and dropout"
            )
        if func in TRAINING_ARGUMENTS and _trains(func, args, kwargs):
            raise UnsupportedActivationError(
                f"layer '{calling_layer(self._network)}' calls {func.__name__} as in training, but the structural "
                "copy is in evaluation mode: the gates of an image would depend on its batch or on chance"
            )
        return func(*args, **kwargs)

    def _relu(self, output: Tensor) -> Tensor:
        if self._packed:
            self.gates.append(_pack_relu(output))
        # Tensors of inference mode have no version counter, which shows later writes.
        elif self._copy_masks or output.is_inference():
            self.gates.append(ReluGate(output > 0, None))
        else:
            self.gates.append(ReluGate(output, output._version))
        return output

    def _max_pool(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with_indices, spatial_dims = MAX_POOLS[func]
        wants_winners, args, kwargs = split_return_indices(func, args, kwargs)
        value, others = (args[0], args[1:]) if args else (kwargs.pop("input"), ())
        pooling = partial(_pool, with_indices, others, kwargs)
        output, winners = pooling(value)
        plane = tuple(value.shape[-spatial_dims:])
        if self._packed:
            self.gates.append(_pack_pool(winners, plane, pooling))
        else:
            self.gates.append(PoolGate(winners, plane))
        return (output, winners) if wants_winners else output


def _pack_relu(output: Tensor) -> PackedRelu:
    with torch._C.DisableTorchFunction():  # packing is no call of the network: outer modes must not see it
        layout = ReluLayout.of(output)
        return PackedRelu(layout, layout.pack(output))


def _pack_pool(winners: Tensor, plane: tuple[int, ...], pooling: Pooling) -> PackedPool:
    with torch._C.DisableTorchFunction():
        layout = PoolLayout(tuple(winners.shape[1:]), plane, WinnerCode.of(pooling, plane))
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
    gates, output = _record(Recording(network, pool_gates=pool_gates), network, images)
    if all(gate.is_intact() for gate in gates if isinstance(gate, ReluGate)):
        return gates, output
    return _record(Recording(network, pool_gates=pool_gates, copy_masks=True), network, images)


def record_packed(network: nn.Module, images: Tensor, *, pool_gates: bool) -> list[PackedRelu | PackedPool]:
    """Run ``network`` without gradients and return its packed gates, in call order."""
    gates, _ = _record(Recording(network, pool_gates=pool_gates, packed=True), network, images)
    return [gate for gate in gates if isinstance(gate, PackedRelu | PackedPool)]


def _record(recording: Recording, network: nn.Module, images: Tensor) -> tuple[list[Gate], Tensor]:
    # Not inference_mode: its tensors cannot be used in the backward pass of the quantitative copy.
    with torch.no_grad(), recording:
        output = network(images)
    return recording.gates, output
