"""Whether the packed gates of an image depend on that image alone, as a cache of rows presumes.

A network may put another axis first (``(positions, images, channels)``), turn the batch round in between, or compute
with the batch. The gates of a batch are then right, but their rows are not those of its images.
"""

import math

import torch
from torch import Tensor

from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.gating.packed.calls import ActivationGate, Gate, PackedPool, PoolGate
from fedsq_flwr.gating.packed.layout import is_channels_last
from fedsq_flwr.gating.support import GateMismatchError

#: The smallest batch in which gates are recorded: smaller ones may round differently.
SMALLEST_BATCH = 8

_ADVICE = "they cannot be cached: do without the gate cache"


def check_rows(dual: DualCopy, images: Tensor) -> None:
    """Refuse gates whose rows do not belong to the images one by one.

    The same images are passed in two batches: in another order, beside other images, and in another number.

    Parameters
    ----------
    dual : DualCopy
        Makes the gates.
    images : Tensor
        Any images that it takes, ``(N, ...)`` with N >= 1. What is passed are their values in random order.

    Raises
    ------
    GateMismatchError
        Names the layer.
    """
    count = SMALLEST_BATCH
    shuffled = _shuffled(images, 2 * count + 1)
    brightest = images.detach().amax().expand(2, *images.shape[1:])
    first, _ = dual.calls(_like(images, shuffled[: count + 1]))
    other, _ = dual.calls(_like(images, torch.cat([shuffled[: count + 1].flip(0), brightest, shuffled[count + 1 :]])))
    if [(type(gate), gate.layer) for gate in first] != [(type(gate), gate.layer) for gate in other]:
        raise GateMismatchError(f"the network takes another branch for another batch, so {_ADVICE}")
    for ours, theirs in zip(first, other, strict=True):
        layer = f"the gates of layer '{ours.layer}'" if ours.layer else "gates"
        if not ours.shape or (ours.shape[0], theirs.shape[0]) != (count + 1, 2 * count + 3):
            raise GateMismatchError(f"{layer} do not have the images as their first axis, so {_ADVICE}")
        a, b = _values(ours), _values(theirs)[: count + 1].flip(0)
        if _distance(a, b) > _tolerance(a) * max(_distance(a, 0 * a), _distance(a, a.roll(1, 0))):
            raise GateMismatchError(f"{layer} depend on the batch of an image, so {_ADVICE}")


def _values(gate: Gate) -> Tensor:
    """Return what a gate was made of: what a ReLU has let through, or the winners of a pooling."""
    if isinstance(gate, ActivationGate):
        return gate.source
    return gate.winners if isinstance(gate, PoolGate | PackedPool) else gate.mask()


def _distance(a: Tensor, b: Tensor) -> float:
    """Return how far apart two tensors are: the sum of differences, or the number of winners that differ."""
    if a.is_floating_point():
        return float((a - b).abs().sum(dtype=torch.float32))
    return float(torch.count_nonzero(a != b))


def _tolerance(values: Tensor) -> float:
    """Return how much of their size may be rounding."""
    return 4 * math.sqrt(torch.finfo(values.dtype).eps) if values.is_floating_point() else 0.25


def _shuffled(images: Tensor, count: int) -> Tensor:
    """Return ``count`` images of the values of ``images``, each in an order of its own."""
    generator = torch.Generator().manual_seed(0)
    values = images.detach().reshape(len(images), -1)
    rows = [
        values[row % len(values)][torch.randperm(values.shape[1], generator=generator).to(values.device)]
        for row in range(count)
    ]
    return _like(images, torch.stack(rows).view(count, *images.shape[1:]))


def _like(images: Tensor, batch: Tensor) -> Tensor:
    """Return ``batch`` in the memory format of ``images``."""
    return batch.contiguous(memory_format=torch.channels_last) if is_channels_last(images) else batch
