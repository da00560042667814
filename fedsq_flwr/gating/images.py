"""A set of images as the mathematics needs it: a tensor, or an object that prepares batches on demand."""

from typing import Protocol

import torch
from torch import Tensor


class LazyImages(Protocol):
    """Images that become a tensor batch by batch. The image at a position is always the same, to the bit."""

    @property
    def device(self) -> torch.device:
        """The device of the batches."""
        ...

    @property
    def digest(self) -> str:
        """A name for the images as they enter a network; other images have another name."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, places: Tensor | slice) -> Tensor:
        """Return the images at the positions ``places`` (int64 or slice): ``(n, C, H, W)``, floating-point."""
        ...

    def subset(self, places: Tensor) -> "LazyImages":
        """Return the images at the positions ``places`` (int64), in that order."""
        ...

    def to(self, device: torch.device) -> "LazyImages":
        """Return the images on ``device``."""
        ...


#: Images as they enter a network: a tensor that holds them, or `LazyImages` that make them.
Images = Tensor | LazyImages
