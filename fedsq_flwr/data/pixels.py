"""From a picture as Pillow decodes it to pixels between 0 and 1: right, or refused with the reason."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from fedsq_flwr.data.float_tiff import float_pixels

_GREY = ("1", "L")
_COLOURS = ("P", "RGB")
_WITH_ALPHA = ("LA", "PA", "RGBA")
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I")  # up to 16 bits; older versions of Pillow give "I" for them
_WHOLE, _FLOATING = 1, 3  # kinds of samples in TIFF


def picture_pixels(picture: Image.Image) -> np.ndarray:
    """Return a picture that was opened and not yet decoded as float32 pixels between 0 and 1.

    It is turned upright as its camera says (EXIF).

    Returns
    -------
    ndarray
        ``(H, W)`` if it is grey, else ``(H, W, 3)``.

    Raises
    ------
    ValueError
        If its look is undefined: transparent pixels, inks, numbers without black and white.
    """
    tags = picture.tag_v2 if isinstance(picture, TiffImageFile) else {}
    refuse_unclear(picture)
    bits = _bits(picture, tags)
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "F":
        return float_pixels(np.asarray(upright), tags)
    _refuse_transparent(upright, bits)
    if upright.mode in _DEEP_GREY:
        deep, white = np.asarray(upright), 2**bits - 1
        if deep.min() < 0 or deep.max() > white:
            raise ValueError(f"has values of more than {bits} bits")
        return between_0_and_1(deep, white)
    if upright.mode in _GREY:
        upright = upright.convert("L")
    elif upright.mode != "RGB":
        upright = upright.convert("RGBA").convert("RGB")
    return between_0_and_1(np.asarray(upright), 255)


def refuse_unclear(picture: Image.Image) -> None:
    """Refuse a picture of a kind whose numbers Pillow gives at no scale, or at another one than its file means.

    Raises
    ------
    ValueError
        That says why.
    """
    mode = picture.mode
    if mode == "CMYK":
        raise ValueError(
            "has the inks of a printing press (CMYK), whose colours depend on a profile; make it RGB first"
        )
    if mode not in (*_GREY, *_COLOURS, *_WITH_ALPHA, *_DEEP_GREY, "F"):
        raise ValueError(f"has pixels of the kind {mode}; make it grey or RGB first")
    if not isinstance(picture, TiffImageFile):
        return
    tags = picture.tag_v2
    if mode == "I" and max(np.ravel(tags.get(BITSPERSAMPLE, 1))) > 16:
        raise ValueError("has values of more than 16 bits, whose black and white are unknown")
    kind = _FLOATING if mode == "F" else _WHOLE
    if any(kind != told for told in np.ravel(tags.get(SAMPLEFORMAT, kind))):
        raise ValueError("has signed values, whose black and white are unknown")
    if mode in (*_DEEP_GREY, "F") and tags.get(PHOTOMETRIC_INTERPRETATION) == 0:
        raise ValueError("has its values from white to black")  # Pillow turns them round for 8 bits only


def between_0_and_1(stored: np.ndarray, white: int) -> np.ndarray:
    """Return stored integers, 0 for black to ``white`` (at most 65,535), as float32 pixels between 0 and 1."""
    return stored.astype(np.float32) / np.float32(white)


def _bits(picture: Image.Image, tags: Mapping[int, Any]) -> int:
    """Return how many bits a value of an opened picture has in its file."""
    if picture.mode in _DEEP_GREY:
        return int(max(np.ravel(tags.get(BITSPERSAMPLE, 16))))
    if not isinstance(picture, PngImageFile):
        return 8
    kind = str(picture.tile[0][3])  # such as L;2 or RGB;16B
    return 1 if kind == "1" else int(kind.partition(";")[2].rstrip("B") or 8)


def _refuse_transparent(picture: Image.Image, bits: int) -> None:
    """Refuse what has pixels that are not wholly opaque; ``bits`` is what a value has in the file."""
    key = picture.info.get("transparency")
    if picture.mode in _WITH_ALPHA or picture.mode == "P":
        transparent = picture.convert("RGBA").getchannel("A").getextrema()[0] != 255
    elif key is None:
        return
    else:  # the one value, or colour, that means transparent, at the scale of the file
        values = np.asarray(picture).astype(np.int64)
        wanted = np.atleast_1d(key)
        if picture.mode == "1":
            wanted = wanted > 0
        elif picture.mode not in _DEEP_GREY:
            wanted = wanted >> (bits - 8) if bits > 8 else (wanted & (2**bits - 1)) * (255 // (2**bits - 1))
        transparent = bool((values.reshape(*values.shape[:2], -1) == wanted).all(-1).any())
    if transparent:
        raise ValueError("has transparent pixels; put it on a background first")
