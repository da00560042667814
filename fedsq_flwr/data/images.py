"""Labelled images in memory, and the input pipeline that fits them to a backbone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes.

    Attributes
    ----------
    images : Tensor
        ``(N, C, H, W)``; as loaded uint8, or float32 between 0 and 1; float32 and normalised after `prepare`.
    labels : Tensor
        ``(N,)`` int64.
    """

    images: Tensor
    labels: Tensor

    @classmethod
    def none(cls) -> "LabelledImages":
        """Return a set of no images."""
        return cls(torch.empty(0, 1, 1, 1), torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int] | Tensor) -> "LabelledImages":
        """Return the samples at ``indices``, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return LabelledImages(self.images[chosen], self.labels[chosen])

    def to(self, device: torch.device) -> "LabelledImages":
        """Return the samples on ``device``."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


def to_pixels(images: Tensor) -> Tensor:
    """Return images as float32 between 0 and 1: uint8 is value / 255, float32 is left as it is."""
    return images.to(torch.float32) / 255.0 if images.dtype == torch.uint8 else images


def to_bytes(images: Tensor) -> Tensor:
    """Return images as uint8, those between 0 and 1 rounded to the nearest multiple of 1 / 255."""
    return images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)


def prepare(
    data: LabelledImages,
    *,
    size: int,
    channels: int,
    mean: float | Sequence[float],
    deviation: float | Sequence[float],
) -> LabelledImages:
    """Resize to ``size`` pixels a side (bilinear, anti-aliased), set the channels, and normalise.

    One channel becomes several by repetition; several become one by their mean. ``mean`` and
    ``deviation`` of the pixels (between 0 and 1) are one number for all channels, or one for each. The
    pipeline is deterministic, so the gates of a sample never change.
    """
    images = to_pixels(data.images)
    if images.shape[-2:] != (size, size):
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    if images.shape[1] != channels:
        images = images.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    shift, scale = (
        torch.as_tensor(values, dtype=torch.float32, device=images.device).view(-1, 1, 1)
        for values in (mean, deviation)
    )
    return LabelledImages(((images - shift) / scale).contiguous(), data.labels)
