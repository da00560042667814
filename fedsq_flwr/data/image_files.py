"""Image files: which files are images, and what they hold, before the input pipeline fits it to a backbone."""

import logging
import os
import struct
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError, features
from torch import Tensor

from fedsq_flwr.data import heif
from fedsq_flwr.data.names import shown
from fedsq_flwr.data.pixels import picture_pixels, refuse_unclear
from fedsq_flwr.errors import DataError

log = logging.getLogger(__name__)

#: Suffixes of the files that are taken for images; what is in them may be any of `FORMATS`, or HEIC.
SUFFIXES = (
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jif", ".jpe", ".jpeg", ".jpg",
    ".mpo", ".pbm", ".pgm", ".pjpeg", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
FORMATS: tuple[str, ...] = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
if "avif" in features.modules and features.check("avif"):  # Pillow from 11.3, unless it was built without
    FORMATS = ("AVIF", *FORMATS)

#: What file managers and archivers leave behind, beside what begins with a dot.
_LEFT_BEHIND = frozenset((
    "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
    "thumbs.db", "ehthumbs.db", "desktop.ini",
))  # fmt: skip
_NAMED_FILES, _NAMED_SUFFIXES = 3, 5  # in a message about files that are left out

# What Pillow and its plugins raise over broken files. Its readers of EXIF and TIFF tags check little: a tag of
# another type than theirs is a TypeError or a struct.error.
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip


def find_images(folder: Path) -> list[Path]:
    """Return the images of ``folder`` and its subfolders, known by their suffix, sorted by path.

    Hidden files, and those in hidden folders, are left out. Other files that are left out are counted in the log.

    Raises
    ------
    DataError
        If there is no such folder, or no image in it, or a subfolder cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{shown(folder)}: {'is no folder' if folder.exists() else 'no such folder'}")
    files = list(walk_files(folder))
    found = [path for path in files if is_image(path)]
    others = [path for path in files if not is_image(path)]
    if not found:
        also = f"; {describe_left_out(folder, others)}" if others else ""
        raise DataError(f"{shown(folder)}: holds no image ({' '.join(SUFFIXES)}){also}")
    if others:
        log.warning("%s: %s", shown(folder), describe_left_out(folder, others))
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def walk_images(folder: Path) -> list[Path]:
    """Return the images of ``folder`` and its subfolders in no order, if there are any.

    Raises
    ------
    DataError
        If a folder cannot be read.
    """
    return [path for path in walk_files(folder) if is_image(path)]


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield the files of ``folder`` and its subfolders in no order, without what is hidden.

    Links to folders are not followed, since they may lead in circles, and are yielded as files are; ``folder``
    itself may be one.

    Raises
    ------
    DataError
        If a folder cannot be read.
    """
    for parent, folders, files in os.walk(folder, onerror=refuse_folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in (*files, *linked) if not is_hidden(name))


def is_image(path: Path) -> bool:
    """Tell whether a file is taken for an image: by its suffix, and unless it is hidden."""
    return path.suffix.lower() in SUFFIXES and not is_hidden(path.name)


def is_hidden(name: str) -> bool:
    """Tell whether a file or a folder is left alone: it begins with a dot, or no person put it there."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def describe_left_out(folder: Path, others: Iterable[Path]) -> str:
    """Say in one line which files of ``folder`` are no images by their suffix: how many of each, and the first."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(others):
        kind = "links to folders" if path.is_dir() else path.suffix.lower() or "without a suffix"
        kinds.setdefault(kind, []).append(path)
    most = sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))
    told = []
    for kind, paths in most[:_NAMED_SUFFIXES]:
        names = ", ".join(shown(path.relative_to(folder)) for path in paths[:_NAMED_FILES])
        told.append(f"{len(paths)} {shown(kind)} ({names}{', ...' if len(paths) > _NAMED_FILES else ''})")
    further = sum(len(paths) for _, paths in most[_NAMED_SUFFIXES:])
    told += [f"{further} with other suffixes"] if further else []
    total = sum(map(len, kinds.values()))
    return f"{total} file{'s' if total > 1 else ''} left out because of the suffix: {', '.join(told)}"


def refuse_folder(error: OSError) -> NoReturn:
    """Raise the `DataError` for a folder that cannot be read."""
    raise DataError(f"{shown(error.filename)}: cannot be read: {error.strerror}") from error


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
