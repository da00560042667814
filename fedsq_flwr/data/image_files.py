"""Image files as tensors, before the input pipeline fits them to a backbone."""

import os
import struct
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile
from torch import Tensor

from fedsq_flwr.data.float_tiff import float_pixels
from fedsq_flwr.errors import DataError

#: Suffixes of the files that are taken for images; what is in them may be any of `FORMATS`.
SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I")  # 16 bits; older versions of Pillow give "I" for them

# What Pillow raises over broken files. Its readers of EXIF and TIFF tags check little: a tag of another type
# than theirs is a TypeError or a struct.error.
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip


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
    found = walk_images(folder)
    if not found:
        raise DataError(f"{folder}: holds no image ({' '.join(SUFFIXES)})")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def walk_images(folder: Path) -> list[Path]:
    """Return the images of ``folder`` and its subfolders in no order, if there are any.

    Links to folders are not followed, since they may lead in circles; ``folder`` itself may be one.

    Raises
    ------
    DataError
        If a folder cannot be read.
    """
    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for path in (Path(parent, name) for name in files) if is_image(path)]
    return found


def is_image(path: Path) -> bool:
    """Tell whether a file is taken for an image: by its suffix, and unless it is hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def refuse_folder(error: OSError) -> NoReturn:
    """Raise the `DataError` for a folder that cannot be read."""
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error


def read_image(path: Path) -> Tensor:
    """Read an image as float32 between 0 and 1, ``(1, H, W)`` if it is grey, else ``(3, H, W)``.

    It is turned upright as its camera says (EXIF). Grey keeps 16 bits where it has them, and floating-point
    values where the file states their black and white; colours have 8 bits. Of several frames the first is
    read.

    Raises
    ------
    DataError
        If it cannot be read, or its look is undefined: transparent pixels, floating-point ones without black
        and white.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
            pixels = _pixels(ImageOps.exif_transpose(image), tags)
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: is no image in a known format ({', '.join(FORMATS)})") from error
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read as an image: {' '.join(str(error).split())}") from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def decode_rgb(content: bytes, size: int, where: str) -> np.ndarray:
    """Decode an image file in memory to ``(size, size, 3)`` uint8; grey gets three equal channels.

    Raises
    ------
    DataError
        If it cannot be decoded, is not grey or colours of 8 bits, or has another size; ``where`` names it.
    """
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            if image.mode not in ("1", "L", "P", "RGB") or "transparency" in image.info:
                raise ValueError(f"is {image.mode}, not grey or colours of 8 bits")
            pixels = np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: is no image in a known format ({', '.join(FORMATS)})") from error
    except _BROKEN as error:
        raise DataError(f"{where}: cannot be read as an image: {' '.join(str(error).split())}") from error
    if pixels.shape[:2] != (size, size):
        raise DataError(f"{where}: has {pixels.shape[1]} x {pixels.shape[0]} pixels; all must have {size} x {size}")
    return pixels


def between_0_and_1(stored: np.ndarray, white: int) -> np.ndarray:
    """Return stored integers, 0 for black to ``white`` (at most 65,535), as float32 pixels between 0 and 1."""
    return stored.astype(np.float32) / np.float32(white)


def _pixels(image: Image.Image, tags: Mapping[int, Any]) -> np.ndarray:
    if image.mode in (*_DEEP_GREY, "F") and tags.get(PHOTOMETRIC_INTERPRETATION) == 0:
        raise ValueError("has its values from white to black")  # Pillow turns them round for 8 bits only
    if image.mode == "F":
        return float_pixels(np.asarray(image), tags)
    if image.mode in _DEEP_GREY:
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError("has values of more than 16 bits")
        return between_0_and_1(deep, 65535)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            raise ValueError("has transparent pixels; put it on a background first")
    grey = image.mode in ("1", "L")
    return between_0_and_1(np.asarray(image.convert("L" if grey else "RGB")), 255)
