"""What the mathematics needs of a set of images: a tensor, or anything that prepares them when asked."""

from typing import Protocol

import torch
from torch import Tensor


class LazyImages(Protocol):
    """Images that become a tensor batch by batch. What is at a place is always the same, to the bit."""

    @property
    def device(self) -> torch.device:
        """Where batches lie."""
        ...

    @property
    def digest(self) -> str:
        """A name for the images as they enter a network: other images have another."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, places: Tensor | slice) -> Tensor:
        """Return the images at ``places`` (int64 or slice): ``(n, C, H, W)``, floating-point."""
        ...

    def subset(self, places: Tensor) -> "LazyImages":
        """Return the images at ``places`` (int64), in that order."""
        ...

    def to(self, device: torch.device) -> "LazyImages":
        """Return the images on ``device``."""
        ...


#: Images by place, as they enter a network: a tensor holds them, `LazyImages` make them.
Images = Tensor | LazyImages
