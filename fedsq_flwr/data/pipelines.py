"""Input pipelines: from stored images to what a backbone wants, all at once or each batch when it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fedsq_flwr.gating import digest

#: A task whose prepared images take no more than this is prepared at once, which is fastest; a larger one batch
#: by batch. Either way the numbers are the same.
KEEP_PREPARED_BYTES: Final = 256 * 2**20
_FLOAT = 4  # bytes of a prepared value
_WHITE = 255.0  # of uint8
_FEW = 8  # images


@dataclass(frozen=True)
class InputPipeline:
    """Resize, set the channels, and normalise: deterministic, and each image by itself.

    So a sample equals, to the bit, what it is in any other batch, and its gates never change.

    Attributes
    ----------
    size : int
        Pixels a side. Images of another size are resized, bilinear and anti-aliased.
    channels : int
        One channel becomes several by repetition; several become one by their mean.
    mean, std : float or sequence of float
        Mean and standard deviation of the pixels between 0 and 1: one number for all channels, or one for each.
    """

    size: int
    channels: int
    mean: float | Sequence[float]
    std: float | Sequence[float]

    def __call__(self, images: Tensor) -> Tensor:
        """Return ``(N, channels, size, size)`` float32, on the device of the images.

        ``images`` is ``(N, C, H, W)``: float32 between 0 and 1, or uint8, which stands for value / 255.
        """
        images = to_pixels(images)
        if images.shape[-2:] != (self.size, self.size):
            shape = (self.size, self.size)
            images = F.interpolate(images, size=shape, mode="bilinear", antialias=True, align_corners=False)
        if images.shape[1] != self.channels:
            images = images.mean(1, keepdim=True).expand(-1, self.channels, -1, -1)
        shift, scale = (
            torch.as_tensor(values, dtype=torch.float32, device=images.device).view(-1, 1, 1)
            for values in (self.mean, self.std)
        )
        return ((images - shift) / scale).contiguous()

    def nbytes(self, images: int) -> int:
        """Return the bytes that ``images`` prepared images take."""
        return images * self.channels * self.size**2 * _FLOAT

    @property
    def key(self) -> str:
        """The settings as text, for the keys of cached gates.

        The text calls the std ``deviation``, as version 0.1 did, so that gates cached by that version are found.
        """
        return (
            f"InputPipeline(size={self.size}, channels={self.channels}, mean={self.mean!r}, deviation={self.std!r})"
        )


class PreparedImages:
    """Stored images that are prepared when they are asked for: what is held are their own bytes.

    Parameters
    ----------
    raw : Tensor
        ``(N, C, H, W)`` as `InputPipeline` takes them.
    pipeline : InputPipeline
        What prepares them, on the device that they are on.
    places : Tensor, optional
        int64 on the CPU: which of ``raw`` these images are, in their order; all by default. Parts of a data
        set share one ``raw``, so that distributing copies nothing.
    """

    def __init__(self, raw: Tensor, pipeline: InputPipeline, places: Tensor | None = None) -> None:
        self.pipeline = pipeline
        self._raw = raw
        self._places = torch.arange(len(raw)) if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, places: Tensor | slice) -> Tensor:
        """Return the images at ``places`` (int64 or slice), prepared: float32 on `device`."""
        return self.pipeline(self._raw[self._places[places]])

    def stored(self, places: Tensor | slice) -> Tensor:
        """Return the images at ``places`` as they are held, not prepared."""
        return self._raw[self._places[places]]

    @property
    def device(self) -> torch.device:
        """Where images are held and prepared."""
        return self._raw.device

    @cached_property
    def digest(self) -> str:
        """A name for the prepared images: of the stored bytes, the pipeline's settings, and what it makes of a few.

        The few give it away if the same settings come to mean other numbers.
        """
        return f"{digest(self._raw[self._places])}|{self.pipeline.key}|{digest(self[:_FEW])}"

    def subset(self, places: Tensor) -> "PreparedImages":
        """Return the images at ``places`` (int64), in that order, without copying any."""
        return PreparedImages(self._raw, self.pipeline, self._places[places])

    def to(self, device: torch.device) -> "PreparedImages":
        """Return the images on ``device``; only these move, not all of what they share with other parts."""
        if self._raw.device == device:
            return self
        moved = PreparedImages(self._raw[self._places].to(device), self.pipeline)
        moved.digest = self.digest  # once for all copies: a silo moves its images for every message
        return moved


def to_pixels(images: Tensor) -> Tensor:
    """Return images as float32 between 0 and 1: uint8 is value / 255, float32 is left as it is."""
    if images.dtype != torch.uint8:
        return images
    # A tensor on the same device: by a number, CUDA would multiply with its reciprocal, which rounds otherwise.
    return images.to(torch.float32) / torch.tensor(_WHITE, device=images.device)
