"""Published images as files in folders of their classes, and Tiny ImageNet's list of its validation images."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fedsq_flwr.data.decoded import Decoded
from fedsq_flwr.data.folder_layout import find_classes, find_samples
from fedsq_flwr.data.image_folder import read_samples
from fedsq_flwr.data.image_paths import walk_images
from fedsq_flwr.errors import DataError

#: In Tiny ImageNet's own archive, the file of a part that says of which class each image is.
ANNOTATIONS = "val_annotations.txt"


def folder_files(folders: Mapping[str, Path]) -> list[Path]:
    """Return all that `read_folders` reads of these folders, sorted."""
    lists = [folder / ANNOTATIONS for folder in folders.values() if (folder / ANNOTATIONS).is_file()]
    below = [entry for folder in folders.values() for entry in folder.iterdir() if entry.is_dir()]
    return sorted([*lists, *(path for folder in below for path in walk_images(folder))])


def read_folders(folders: Mapping[str, Path], size: int) -> Decoded:
    """Read the parts, each from its folder; the classes are the folders of ``train``, sorted.

    Raises
    ------
    DataError
        If a file cannot be read, an image has another size than ``size`` pixels a side, or a folder or list
        names a class that ``train`` has not.
    """
    class_names = find_classes({"train": folders["train"]})
    parts = {}
    for part, folder in folders.items():
        if (folder / ANNOTATIONS).is_file():
            samples = _annotated(folder, class_names)
        else:
            samples = find_samples(folder, class_names)
        parts[part], _ = read_samples(folder, samples, skip=False, fit=partial(_as_bytes, folder, size))
    return Decoded(parts, class_names)


def _as_bytes(folder: Path, size: int, pixels: Tensor) -> Tensor:
    """Return images between 0 and 1 as ``(N, 3, H, W)`` uint8; grey ones get three equal channels."""
    height, width = pixels.shape[-2:]
    if (height, width) != (size, size):
        raise DataError(f"{folder}: holds an image of {width} x {height} pixels; all must have {size} x {size}")
    return (pixels * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)


def _annotated(folder: Path, class_names: Sequence[str]) -> list[tuple[Path, int]]:
    """Return the images that the list names, in its order, each with the place of its class."""
    path = folder / ANNOTATIONS
    labels = {name: label for label, name in enumerate(class_names)}
    samples = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        name, _, rest = line.partition("\t")
        wanted = rest.partition("\t")[0]
        if wanted not in labels:
            raise DataError(f"{path}: line {number} names the class {wanted!r}, which train has not")
        samples.append((folder / "images" / name, labels[wanted]))
    if not samples:
        raise DataError(f"{path}: names no image")
    return samples
