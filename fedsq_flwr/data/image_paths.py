"""Which files of a folder are images, by their names; what they hold is read by `image_files`, which needs Pillow."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from fedsq_flwr.data.names import shown
from fedsq_flwr.errors import DataError

log = logging.getLogger(__name__)

#: Suffixes of the files that are taken for images; what is in them may be any of `image_files.FORMATS`, or HEIC.
SUFFIXES = (
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jif", ".jpe", ".jpeg", ".jpg",
    ".mpo", ".pbm", ".pgm", ".pjpeg", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip

#: What file managers and archivers leave behind, beside what begins with a dot.
_LEFT_BEHIND = frozenset((
    "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
    "thumbs.db", "ehthumbs.db", "desktop.ini",
))  # fmt: skip
_NAMED_FILES, _NAMED_SUFFIXES = 3, 5  # in a message about files that are left out


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
