"""What image files hold, before the input pipeline fits it to a backbone."""

import struct
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError, features
from torch import Tensor

from fedsq_flwr.data import heif
from fedsq_flwr.data.names import shown
from fedsq_flwr.data.pixels import picture_pixels, refuse_unclear
from fedsq_flwr.errors import DataError

#: What a file that is taken for an image may hold, beside HEIC.
FORMATS: tuple[str, ...] = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
if "avif" in features.modules and features.check("avif"):  # Pillow from 11.3, unless it was built without
    FORMATS = ("AVIF", *FORMATS)

# What Pillow and its plugins raise over broken files. Its readers of EXIF and TIFF tags check little: a tag of
# another type than theirs is a TypeError or a struct.error.
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip


def read_image(path: Path) -> Tensor:
    """Read an image as float32 between 0 and 1, ``(1, H, W)`` if it is grey, else ``(3, H, W)``.

    It is turned upright as its camera says (EXIF). Grey keeps 16 bits where it has them, and floating-point
    values where the file states their black and white; colours have 8 bits. Of several frames the first is
    read.

    Raises
    ------
    DataError
        If it cannot be read, or its look is undefined, see `picture_pixels`.
    """
    try:
        with path.open("rb") as file, _opened(file) as picture:
            pixels = picture_pixels(picture)
    except UnidentifiedImageError as error:
        raise DataError(f"{shown(path)}: is no image in a known format ({', '.join(FORMATS)})") from error
    except _BROKEN as error:
        raise DataError(f"{shown(path)}: cannot be read as an image: {_said(error)}") from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def decode_rgb(content: bytes, size: int, where: str) -> np.ndarray:
    """Decode an image file in memory to ``(size, size, 3)`` uint8; grey gets three equal channels.

    Raises
    ------
    DataError
        If it cannot be decoded, is not grey or colours of 8 bits, or has another size; ``where`` names it.
    """
    try:
        with _opened(BytesIO(content)) as picture:
            refuse_unclear(picture)
            if picture.mode not in ("1", "L", "P", "RGB") or "transparency" in picture.info:
                raise ValueError(f"is {picture.mode}, not grey or colours of 8 bits")
            pixels = np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: is no image in a known format ({', '.join(FORMATS)})") from error
    except _BROKEN as error:
        raise DataError(f"{where}: cannot be read as an image: {_said(error)}") from error
    if pixels.shape[:2] != (size, size):
        raise DataError(f"{where}: has {pixels.shape[1]} x {pixels.shape[0]} pixels; all must have {size} x {size}")
    return pixels


def _opened(file: BinaryIO) -> Image.Image:
    """Open a picture, which is decoded later.

    Raises
    ------
    UnidentifiedImageError, ValueError, ...
        If it is in no known format, or in one that something has to be installed for.
    """
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        beginning = file.read(12)
        file.seek(0)
        if heif.is_heif(beginning):
            heif.register()
            return Image.open(file, formats=[heif.FORMAT])
        if beginning[4:12] in (b"ftypavif", b"ftypavis") and "AVIF" not in FORMATS:
            raise ValueError("it is AVIF, which this Pillow cannot read; pip install 'pillow>=11.3'") from None
        raise


def _said(error: Exception) -> str:
    """Return what is wrong on one line, without what only this machine's memory knows."""
    return shown(" ".join(str(error).split())) or type(error).__name__
