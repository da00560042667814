"""Images and their classes: as they are stored, or as the input pipeline prepares them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsq_flwr.data.pipelines import InputPipeline, PreparedImages
from fedsq_flwr.gating import Images


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes.

    Attributes
    ----------
    images : Tensor or PreparedImages
        ``(N, C, H, W)``. As loaded a tensor, float32 between 0 and 1 or uint8, which stands for value / 255;
        prepared, float32 and normalised, either a tensor or `PreparedImages`, which prepare each batch.
    labels : Tensor
        ``(N,)`` int64.
    """

    images: Images
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
        images = self.images[chosen] if isinstance(self.images, Tensor) else self.images.subset(chosen)
        return LabelledImages(images, self.labels[chosen])

    def to(self, device: torch.device) -> "LabelledImages":
        """Return the samples on ``device``."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


def prepare_parts(
    parts: Sequence[LabelledImages], pipeline: InputPipeline, *, keep_bytes: int
) -> list[LabelledImages]:
    """Prepare the parts of a task: all at once if they take no more than ``keep_bytes`` together, else lazily.

    Lazily means that the images as loaded are held, and every batch is prepared when it is asked for. The
    numbers are the same; on a GPU, where lazy batches are prepared, resizing may round otherwise than here.
    """
    at_once = pipeline.nbytes(sum(map(len, parts))) <= keep_bytes
    made = [pipeline(part.images[:]) if at_once else PreparedImages(part.images[:], pipeline) for part in parts]
    return [LabelledImages(images, part.labels) for images, part in zip(made, parts, strict=True)]
