"""Images in memory as a folder that `read_folder` reads back to the bit."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from fedsq_flwr.data.float_tiff import write_floats
from fedsq_flwr.data.folder_layout import PARTS
from fedsq_flwr.data.image_paths import is_hidden
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.names import check_names
from fedsq_flwr.data.pipelines import to_pixels
from fedsq_flwr.data.pixels import between_0_and_1
from fedsq_flwr.errors import DataError


def write_folder(directory: Path, parts: Mapping[str, LabelledImages], class_names: Sequence[str]) -> None:
    """Write images as ``directory/PART/CLASS/000017.png``, the name being the image's place in its part.

    All are PNG of 8 bits if no image loses anything by it, else PNG of 16 bits, else TIFF of float32; the
    latter two for one channel only. A part without images is not written; the others have a folder for every
    class. The labels come back where ``class_names`` are given to the reader again, or are sorted.

    Parameters
    ----------
    directory : Path
        Made if it is not there; else it must be empty.
    parts : mapping of str to LabelledImages
        By ``train``, ``validation``, ``test``: ``(N, 1 or 3, H, W)`` between 0 and 1, or uint8.
    class_names : sequence of str
        What the labels are places in.

    Raises
    ------
    DataError
        If a class's name cannot be a folder's, the images cannot be written without loss, or the directory
        is not empty or cannot be written.
    """
    for name in class_names:
        if not name or is_hidden(name) or any(character in name for character in "/\\\0"):
            raise DataError(
                f"class {name!r}: cannot be the name of a folder; it may not begin with . or hold / or \\"
            )
    check_names(class_names, "classes")
    if not set(parts) <= set(PARTS):
        raise ValueError(f"parts {', '.join(parts)}: allowed are {', '.join(PARTS)}")
    held = {part: images for part, images in parts.items() if len(images)}
    white = _white(directory, [images.images[:] for images in held.values()])
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise DataError(f"{directory}: is not empty")
        for part, images in held.items():
            _write_part(directory / part, images, class_names, white)
    except OSError as error:
        raise DataError(f"{error.filename or directory}: cannot be written: {error.strerror or error}") from error


def _white(directory: Path, parts: Iterable[Tensor]) -> int | None:
    """Return the integer that stands for white, or None if only floating-point numbers lose nothing."""
    images = [to_pixels(image).numpy() for part in parts for image in part]
    if not all(len(image) in (1, 3) and image.min() >= 0 and image.max() <= 1 for image in images):
        raise DataError(f"{directory}: only images of 1 or 3 channels between 0 and 1 can be written")
    grey = all(len(image) == 1 for image in images)
    for white in (255, 65535) if grey else (255,):
        if all(np.array_equal(between_0_and_1(_stored(image, white), white), image) for image in images):
            return white
    if not grey:
        raise DataError(f"{directory}: colours that are no multiples of 1/255 cannot be written without loss")
    return None


def _write_part(directory: Path, images: LabelledImages, class_names: Sequence[str], white: int | None) -> None:
    for name in class_names:
        (directory / name).mkdir(parents=True)
    digits = max(6, len(str(len(images) - 1)))
    for place, (image, label) in enumerate(zip(to_pixels(images.images[:]), images.labels.tolist(), strict=True)):
        path = directory / class_names[label] / f"{place:0{digits}}"
        if white is None:
            write_floats(path.with_suffix(".tif"), image[0].numpy())
            continue
        stored = np.moveaxis(_stored(image.numpy(), white), 0, -1)
        Image.fromarray(np.squeeze(stored, -1) if len(image) == 1 else stored).save(path.with_suffix(".png"))


def _stored(image: np.ndarray, white: int) -> np.ndarray:
    """Return the nearest integers, 0 for black to ``white``."""
    stored: np.ndarray = np.rint(image * white).astype(np.uint8 if white == 255 else np.uint16)
    return stored
