"""The moments of what enters each batch norm, from which its running statistics are estimated again (as in AdaBN).

One pass over the images. In it each batch norm normalises by the batch, as in training, so that a layer sees what its
domain makes of the layers before it. Dropout is off and nothing learns. (Li et al., 2016, arXiv 1603.04779, estimate
the statistics of a domain in the same way, in one place.)
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedsq_flwr.gating import Images
from fedsq_flwr.learning.batches import ordered_batches
from fedsq_flwr.models.batch_norm import batch_norms
from fedsq_flwr.models.copying import copied

#: Images of a batch. A constant: the statistics, and so the gates, must not depend on how silos train.
BATCH_SIZE = 64


@dataclass(frozen=True)
class Moments:
    """Exact sums over the values of each channel; those of disjoint samples add up.

    Attributes
    ----------
    count : int
        Values of a channel: images times positions.
    total, squares : Tensor
        ``(C,)``, float64, on the CPU: the sum of the values and of their squares.
    """

    count: int
    total: Tensor
    squares: Tensor

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def mean(self) -> Tensor:
        """Return the mean of each channel, ``(C,)``."""
        return self.total / self.count

    def variance(self) -> Tensor:
        """Return the unbiased variance of each channel, ``(C,)``, as torch keeps it; rounding makes none negative."""
        squared = self.squares - self.total * self.mean()
        return squared.clamp(min=0) / max(1, self.count - 1)


def batch_norm_moments(network: nn.Module, images: Images) -> dict[str, Moments]:
    """Return the moments of the inputs of each batch norm of ``network``, by its name; the network stays as it is.

    Parameters
    ----------
    network : nn.Module
        Maps images to logits.
    images : Tensor or LazyImages
        ``(N, C, H, W)``, prepared, on the network's device. They are taken in their order, `BATCH_SIZE` at a time; a
        remainder of one joins the batch before it. The moments depend on the order only through the batches.

    Raises
    ------
    ValueError
        If there are no images, or torch cannot normalise by a batch of a single value.
    """
    if len(images) == 0:
        raise ValueError("no statistics: there are no images")
    network = copied(network).eval()
    for norm in batch_norms(network).values():
        norm.train()
    batches = (images[places] for places in ordered_batches(len(images), BATCH_SIZE))
    found: dict[str, Moments] = {}
    for batch in batches:
        for name, moments in _moments_of(network, batch).items():
            found[name] = found[name] + moments if name in found else moments
    return found


def values_of_one_image(network: nn.Module, image: Tensor) -> dict[str, int]:
    """Return how many values of a channel one image ``(1, C, H, W)`` gives to each batch norm, by its name."""
    return {name: moments.count for name, moments in _moments_of(copied(network).eval(), image).items()}


def running_statistics(moments: Mapping[str, Moments]) -> dict[str, Tensor]:
    """Return the running statistics, float32, by the names that they have in a network's state."""
    found: dict[str, Tensor] = {}
    for name, each in moments.items():
        prefix = f"{name}." if name else ""
        found[f"{prefix}running_mean"], found[f"{prefix}running_var"] = each.mean().float(), each.variance().float()
    return found


def _moments_of(network: nn.Module, batch: Tensor) -> dict[str, Moments]:
    """Return the moments of one pass; a layer that is called twice has those of both calls."""
    found: dict[str, Moments] = {}

    def note(name: str, values: Tensor) -> None:
        values = values.detach()
        values = (values.cpu() if values.device.type == "mps" else values).double()  # MPS has no float64
        axes = [axis for axis in range(values.dim()) if axis != 1]
        count = values.numel() // values.shape[1]
        moments = Moments(count, values.sum(axes).cpu(), values.square().sum(axes).cpu())
        found[name] = found[name] + moments if name in found else moments

    hooks = [
        norm.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs[0]))
        for name, norm in batch_norms(network).items()
    ]
    try:
        with torch.no_grad():
            network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return found
