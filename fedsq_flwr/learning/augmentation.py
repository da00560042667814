"""Augmentations by name: how training images are varied, and in how many ways.

A view is one deterministic variant of an image and has a number, which says all about it. Gates depend on
the image as it enters the network, so they belong to a sample in a view: few views can be kept, many not.
Varied are prepared images (float32, normalised), on their device, in local training only. Evaluation sees
images as they are.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Augmentation(Protocol):
    """A family of views.

    Attributes
    ----------
    view : str
        What the gate cache calls the numbering of the views; empty for images as they are.
    views : int or None
        How many views a sample has, numbered from 0; None for more than gates can be kept of.
    """

    view: str
    views: int | None

    def draw(self, samples: int, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Draw a view for each of ``samples`` samples of ``shape`` ``(C, H, W)``: int64 ``(samples,)`` on the CPU."""
        ...

    def apply(self, images: Tensor, views: Tensor) -> Tensor:
        """Return ``images`` ``(N, C, H, W)`` in their ``views`` ``(N,)``, of the same shape."""
        ...


class Plain:
    """Images as they are: one view, and nothing is drawn."""

    view = ""
    views: int | None = 1

    def draw(self, samples: int, shape: torch.Size, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return 0 for each sample."""
        return torch.zeros(samples, dtype=torch.int64)

    def apply(self, images: Tensor, views: Tensor) -> Tensor:  # noqa: ARG002
        """Return ``images``."""
        return images


class Flip:
    """Mirrored left to right in view 1, which has probability 1/2."""

    view = "flip"
    views: int | None = 2

    def draw(self, samples: int, shape: torch.Size, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Draw 0 or 1 for each sample."""
        return torch.randint(2, (samples,), generator=generator)

    def apply(self, images: Tensor, views: Tensor) -> Tensor:
        """Return ``images``, those in view 1 flipped."""
        flipped = (views == 1).to(images.device, non_blocking=True).view(-1, 1, 1, 1)
        return torch.where(flipped, images.flip(-1), images)


class FlipAndCrop:
    """A crop of the image's own size out of the image with a border of an eighth of it, half of the time flipped.

    The border (4 pixels at 32, as is usual with CIFAR; He et al., 2016, section 4.2) is zero after
    normalisation, that is of the mean colour (our choice: black would be another value in each pipeline). All
    places are equally likely: 2 * 81 views at 32 pixels.
    """

    view = "flip_crop"
    views: int | None = None

    def draw(self, samples: int, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Draw one of ``2 * (2 H // 8 + 1) * (2 W // 8 + 1)`` views for each sample."""
        places = [2 * _border(side) + 1 for side in shape[-2:]]
        return torch.randint(2 * places[0] * places[1], (samples,), generator=generator)

    def apply(self, images: Tensor, views: Tensor) -> Tensor:
        """Return ``images`` cropped and flipped: a view is ``(top * (2 W // 8 + 1) + left) * 2 + flipped``."""
        height, width = images.shape[-2:]
        above, beside = _border(height), _border(width)
        windows = F.pad(images, (beside, beside, above, above)).unfold(2, height, 1).unfold(3, width, 1)
        views = views.to(images.device, non_blocking=True)
        place = views // 2
        left = place % (2 * beside + 1)
        top = place // (2 * beside + 1)
        samples = torch.arange(len(images), device=images.device)
        return Flip().apply(windows[samples, :, top, left], views % 2)


def _border(side: int) -> int:
    return side // 8


#: Augmentations by their name in ``data.augmentation``.
AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {"none": Plain(), "flip": Flip(), "flip_crop": FlipAndCrop()}
)
