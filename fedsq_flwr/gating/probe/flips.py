"""Gate flips: a network's own gates compared with fixed ones, layer by layer, on a fixed set of images.

The abstract of FedSQ claims that gating settles early in training. Gate flips test this claim, for FedSQ and for a
network with its own ReLUs: if FedAvg hardly flips the gates of its start, fixing these gates changes nothing.

A flip has two readings.

*Free running* (used here, our choice)
    The signs in the plain pass of the quantitative copy, with its own ReLUs and its own pooling in every layer. A
    flip in an early layer may cause flips in later ones. This is the pass of `QuantitativeCopy.to_plain`, and it is
    defined for every method.
*Teacher forced*
    The signs of the quantitative copy's activations within the pass under fixed gates. Each layer is evaluated on
    what the fixed gates before it let through. It is not defined for a method without fixed gates.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedsq_flwr.gating.activations import ACTIVATIONS
from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.gating.packed.gates import Gates
from fedsq_flwr.gating.record import record_packed
from fedsq_flwr.gating.support import MAX_POOLS, GateMismatchError, calling_layer
from fedsq_flwr.models.quantitative import QuantitativeCopy

RELU = "relu"
MAX_POOL = "max_pool"


@dataclass(frozen=True)
class LayerGates:
    """The gates of one call of an activation or a max-pooling, over all images of the probe set.

    Attributes
    ----------
    layer : str
        The layer that makes the call; the name of a second call of the same layer ends in ``#2``.
    kind : {"relu", "max_pool"}
        Kind of the call; "relu" stands for every activation.
    gates : int
        Number of gates of one image: elements of an activation, outputs of a max-pooling.
    flip_rate : float
        Fraction of the network's own gates that differ from the fixed gates, 0 to 1.
    density, own_density : float or None
        Fraction of open gates (regime 0) among the fixed gates, and among the network's own; None for max-pooling.
    """

    layer: str
    kind: str
    gates: int
    flip_rate: float
    density: float | None
    own_density: float | None


def own_gates(model: QuantitativeCopy, images: Tensor, *, pool_gates: bool = True) -> Gates:
    """Return the gates of the quantitative copy's plain pass in evaluation mode: its own signs and winners.

    Parameters
    ----------
    model : QuantitativeCopy
        Alone or dual; the structural copy is not used.
    images : Tensor
        ``(N, C, H, W)`` on the model's device, used as one batch; at least 8 images (see docs/explanation/gates.md).
    pool_gates : bool
        Whether max-pooling winners are gates.

    Raises
    ------
    UnsupportedActivationError
        If the network calls an activation without fixed linear regimes.
    """
    return _plain_pass(model, images, pool_gates=pool_gates)[0]


def fixed_gates(model: QuantitativeCopy, images: Tensor) -> Gates:
    """Return the gates to compare with: those of the structural copy or, without one, the present own gates.

    For a method without fixed gates, call it at the start of training and store the result.
    """
    return model.gates(images) if isinstance(model, DualCopy) else own_gates(model, images)


def gate_flips(model: QuantitativeCopy, images: Tensor, fixed: Gates) -> tuple[LayerGates, ...]:
    """Compare the quantitative copy's own gates (free running) with fixed ones, call by call in forward order.

    Parameters
    ----------
    model : QuantitativeCopy
        Alone or dual; its mode is restored at the end.
    images : Tensor
        The probe set, ``(N, C, H, W)`` on the model's device, used as one batch.
    fixed : Gates
        The gates of these images under the structure to compare with, see `fixed_gates`. Winners of
        max-poolings are compared if ``fixed`` has any.

    Raises
    ------
    GateMismatchError
        If the fixed gates are those of another network, or of another number of images.
    """
    own, calls = _plain_pass(model, images, pool_gates=bool(fixed.winners()))
    regimes = _pairs(own.regimes(), fixed.regimes())
    winners = _pairs(own.winners(), fixed.winners())
    return tuple(
        _compare(layer, kind, *(regimes if kind == RELU else winners).pop(0))
        for layer, kind in zip(_numbered([layer for layer, _ in calls]), (kind for _, kind in calls), strict=True)
    )


def flip_rate(layers: Sequence[LayerGates]) -> float:
    """Return the fraction of all regimes that differ, over all elements of activations; 0 without any activation."""
    relus = [layer for layer in layers if layer.kind == RELU]
    total = sum(layer.gates for layer in relus)
    return sum(layer.gates * layer.flip_rate for layer in relus) / total if total else 0.0


class _Naming(TorchFunctionMode):
    """Record which layer makes each gated call of a pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.calls: list[tuple[str, str]] = []
        self._network = network

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in ACTIVATIONS or func in MAX_POOLS:
            self.calls.append((calling_layer(self._network), RELU if func in ACTIVATIONS else MAX_POOL))
        return func(*args, **(kwargs or {}))


def _plain_pass(model: QuantitativeCopy, images: Tensor, *, pool_gates: bool) -> tuple[Gates, list[tuple[str, str]]]:
    was_training = model.training
    model.eval()
    try:
        with _Naming(model.quantitative) as naming:
            own = record_packed(model.quantitative, images, pool_gates=pool_gates)
    finally:
        model.train(was_training)
    return Gates.join(own, len(images)), [call for call in naming.calls if pool_gates or call[1] == RELU]


def _pairs(own: list[Tensor], fixed: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    if [gate.shape for gate in own] != [gate.shape for gate in fixed]:
        raise GateMismatchError(
            f"the fixed gates have shapes {[tuple(gate.shape) for gate in fixed]}, the network's own "
            f"{[tuple(gate.shape) for gate in own]}: another network, or other images"
        )
    return list(zip(own, fixed, strict=True))


def _compare(layer: str, kind: str, own: Tensor, fixed: Tensor) -> LayerGates:
    return LayerGates(
        layer=layer,
        kind=kind,
        gates=own[0].numel(),
        flip_rate=_share(own != fixed),
        density=_share(fixed == 0) if kind == RELU else None,
        own_density=_share(own == 0) if kind == RELU else None,
    )


def _share(mask: Tensor) -> float:
    """Return the fraction of True, exact for any number of gates."""
    return int(torch.count_nonzero(mask)) / mask.numel()


def _numbered(layers: Sequence[str]) -> list[str]:
    seen: Counter[str] = Counter()
    names = []
    for layer in layers:
        seen[layer] += 1
        names.append(layer if seen[layer] == 1 else f"{layer}#{seen[layer]}")
    return names
