"""Folders of images for tests."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fedsq_flwr.data.images import LabelledImages


def as_they_are(images: LabelledImages) -> LabelledImages:
    """A pipeline that fits nothing."""
    return images


def make(folder: Path, files: Mapping[str, int]) -> Path:
    """Write flat images of two pixels a side, by their path in ``folder``, with a grey value each."""
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2), value, np.uint8)).save(path, format="PNG")
    return folder


def greys(images: LabelledImages) -> list[int]:
    """Return the grey values that `make` wrote."""
    return (images.images[:, 0, 0, 0] * 255).round().int().tolist()
