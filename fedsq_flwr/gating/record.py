"""The structural pass: run a network and note every gate, in the order of the calls.

A `TorchFunctionMode` sees each ReLU and each max-pooling however it is spelt (module, function or
method, in place or not, a module called twice), so no user's network has to be rewritten.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedsq_flwr.gating.support import (
    MAX_POOLS,
    REFUSED_CALLS,
    RELUS,
    TRAINING_ARGUMENTS,
    UnsupportedActivationError,
    calling_layer,
)


@dataclass(frozen=True)
class ReluGate:
    """A ReLU's gate: open where ``source > 0``.

    Attributes
    ----------
    source : Tensor
        Shape of the activation, any floating or boolean dtype; usually the structural output itself,
        which costs nothing to keep. It must not have been written to since (see ``version``).
    version : int or None
        The tensor's version counter when it was recorded; None where nobody else holds the tensor.
    """

    source: Tensor
    version: int | None

    def is_intact(self) -> bool:
        """Tell whether nobody has written to the source since it was recorded."""
        return self.version is None or self.source._version == self.version


@dataclass(frozen=True)
class PoolGate:
    """A max-pooling's winners: flat indices (int64) into ``plane``, the spatial dimensions of its input."""

    winners: Tensor
    plane: tuple[int, ...]


Gate = ReluGate | PoolGate


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
        The structural copy, used to name the layer in errors.
    pool_gates : bool
        Whether max-pooling winners are gates too.
    copy_masks : bool
        Keep a boolean copy of each ReLU's mask instead of a reference to its output: needed by networks
        that write to a ReLU's output afterwards (``y = relu(x); y += 1``).

    Raises
    ------
    UnsupportedActivationError
        During the pass, on a call without binary gates; names the layer.
    """

    def __init__(self, network: nn.Module, *, pool_gates: bool, copy_masks: bool) -> None:
        super().__init__()
        self.gates: list[Gate] = []
        self._network = network
        self._pool_gates = pool_gates
        self._copy_masks = copy_masks

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
        # Tensors of inference mode have no version counter that would show a later write.
        if self._copy_masks or output.is_inference():
            self.gates.append(ReluGate(output > 0, None))
        else:
            self.gates.append(ReluGate(output, output._version))
        return output

    def _max_pool(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with_indices, spatial_dims = MAX_POOLS[func]
        wants_winners, args, kwargs = split_return_indices(func, args, kwargs)
        output, winners = with_indices(*args, **kwargs)
        value = args[0] if args else kwargs["input"]
        self.gates.append(PoolGate(winners, tuple(value.shape[-spatial_dims:])))
        return (output, winners) if wants_winners else output


def _trains(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    place, default = TRAINING_ARGUMENTS[func]
    given = args[place] if len(args) > place else default
    return bool(kwargs.get("training", kwargs.get("train", given)))


def split_return_indices(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[bool, tuple[Any, ...], dict[str, Any]]:
    """Take ``return_indices`` out of a max-pooling call, since its with-indices form has no need of it."""
    adaptive = MAX_POOLS[func][0] in _ADAPTIVE
    place = 2 if adaptive else 6  # its position in torch's signatures
    kwargs = dict(kwargs)
    wants = bool(kwargs.pop("return_indices", args[place] if len(args) > place else False))
    always = func.__name__.endswith("_with_indices") or func is torch.adaptive_max_pool1d
    return wants or always, args[:place], kwargs


def record(
    network: nn.Module, images: Tensor, *, pool_gates: bool, copy_masks: bool = False
) -> tuple[list[Gate], Tensor]:
    """Run ``network`` without gradients and return its gates, in call order, and its output.

    ``no_grad`` and not ``inference_mode``: tensors of the latter cannot be used in the backward pass of
    the quantitative copy.
    """
    with torch.no_grad(), Recording(network, pool_gates=pool_gates, copy_masks=copy_masks) as recording:
        output = network(images)
    if not copy_masks and not all(g.is_intact() for g in recording.gates if isinstance(g, ReluGate)):
        return record(network, images, pool_gates=pool_gates, copy_masks=True)
    return recording.gates, output
