"""Image files as tensors, before the input pipeline fits them to a backbone."""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from fedsq_flwr.errors import DataError

#: Suffixes of the files that are taken for images; what is in them may be any of `FORMATS`.
SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I")  # 16 bits; older versions of Pillow give "I" for them


def find_images(folder: Path) -> list[Path]:
    """Return the images of ``folder`` and its subfolders, known by their suffix, sorted by path.

    Hidden files, and those in hidden folders, are left out.

    Raises
    ------
    DataError
        If there is no such folder, or no image in it, or a subfolder cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(parent, name) for name in files if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"{folder}: holds no image ({' '.join(SUFFIXES)})")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error


def read_image(path: Path) -> Tensor:
    """Read an image as float32 between 0 and 1, ``(1, H, W)`` if it is grey, else ``(3, H, W)``.

    It is turned upright as its camera says (EXIF). Grey keeps 16 bits where it has them, colours have 8. Of
    several frames the first is read.

    Raises
    ------
    DataError
        If it cannot be read, or has transparent pixels or floating-point ones, whose look is undefined.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            pixels = _pixels(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: is no image in a known format ({', '.join(FORMATS)})") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image: {' '.join(str(error).split())}") from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode in _DEEP_GREY:
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError("has values of more than 16 bits")
        return (deep / 65535).astype(np.float32)
    if image.mode == "F":
        raise ValueError("has floating-point values, whose black and white are unknown")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            raise ValueError("has transparent pixels; put it on a background first")
    grey = image.mode in ("1", "L")
    return np.asarray(image.convert("L" if grey else "RGB"), dtype=np.float32) / 255
