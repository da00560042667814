"""How a folder of images is laid out: its parts, their classes, and which image is of which. Nothing is read.

Either it holds folders ``train``, ``validation`` and ``test`` (one of them at least), each with a folder for
each class, or it holds the folders of the classes itself, which are then the part ``train``. What is hidden is
left out everywhere, and so is what archivers and file managers leave behind (``__MACOSX``).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fedsq_flwr.data.image_paths import (
    describe_left_out,
    is_hidden,
    is_image,
    refuse_folder,
    walk_files,
    walk_images,
)
from fedsq_flwr.data.names import check_names, shown
from fedsq_flwr.errors import DataError

PARTS = ("train", "validation", "test")
_NAMED_CLASSES = 5  # in a message


def find_parts(folder: Path) -> dict[str, Path]:
    """Return where the parts of ``folder`` are, by name, in the order of `PARTS`.

    Raises
    ------
    DataError
        If there is no such folder, or something lies beside the parts.
    """
    names = _visible_folders(folder)
    parts = {name: folder / name for name in PARTS if name in names}
    beside = [name for name in names if name not in parts]
    if parts and beside:
        raise DataError(f"{shown(folder / beside[0])}: beside {', '.join(parts)} only {', '.join(PARTS)} may lie")
    return parts or {"train": folder}


def find_classes(parts: Mapping[str, Path]) -> tuple[str, ...]:
    """Return the names of the classes that any of the parts has a folder for, sorted.

    Raises
    ------
    DataError
        If there are fewer than two, or an image lies in no class, or a folder cannot be read, or its name is none
        that a class can have, see `check_names`.
    """
    names = sorted({name for part in parts.values() for name in _visible_folders(part)})
    where = " and ".join(map(shown, parts.values()))
    check_names(names, where)
    if len(names) < 2:
        held = f"only one folder of a class ({names[0]})" if names else "no folder of a class"
        raise DataError(f"{where}: holds {held}; at least 2 are needed")
    return tuple(names)


def find_samples(part: Path, class_names: Sequence[str]) -> list[tuple[Path, int]]:
    """Return the images of a part, each with the place of its class in ``class_names``.

    They are in the order of their file names, whatever their class, and files of one name in the order of
    their paths. A numbered series that is sorted into classes so keeps its order.

    Raises
    ------
    DataError
        If a folder is of no such class, an image lies in no class, there is no image, or a folder cannot be
        read.
    """
    labels = {name: label for label, name in enumerate(class_names)}
    folders = _visible_folders(part)
    for name in folders:
        if name not in labels:
            raise DataError(f"{shown(part / name)}: is none of the classes {', '.join(map(shown, class_names))}")
    samples = [(path, labels[name]) for name in folders for path in walk_images(part / name)]
    if not samples:
        others = _others(part)
        also = f"; {describe_left_out(part, others)}" if others else ""
        raise DataError(f"{shown(part)}: holds no image in the folders of its classes{also}")
    return sorted(samples, key=lambda sample: (sample[0].name, sample[0].relative_to(part).as_posix()))


def find_gaps(part: Path, class_names: Sequence[str], images: Iterable[Path]) -> list[str]:
    """Say what of a part gives no image though it might have been meant to.

    Parameters
    ----------
    part : Path
        The folder of the part.
    class_names : sequence of str
        Classes that should have images, beside those that the part has a folder for.
    images : iterable of Path
        The images of the part that are used.

    Returns
    -------
    list of str
        A line for the classes without an image, and one for the files that are no images by their suffix; none
        where there is nothing to say.

    Raises
    ------
    DataError
        If a folder cannot be read.
    """
    have = {path.relative_to(part).parts[0] for path in images}
    empty = sorted({*class_names, *_visible_folders(part)} - have)
    gaps = [f"no image of the class{'es' if len(empty) > 1 else ''} {_some(empty)}"] if empty else []
    others = _others(part)
    return [*gaps, describe_left_out(part, others)] if others else gaps


def _others(part: Path) -> list[Path]:
    """Return the files in the folders of a part's classes that are no images."""
    files = (path for name in _visible_folders(part) for path in walk_files(part / name))
    return [path for path in files if not is_image(path)]


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(map(shown, names[:_NAMED_CLASSES]))
    return listed if len(names) <= _NAMED_CLASSES else f"{listed} and {len(names) - _NAMED_CLASSES} more"


def _visible_folders(folder: Path) -> list[str]:
    """Return the names of the folders in ``folder``, sorted; links to folders are folders."""
    try:
        if not folder.is_dir():
            raise DataError(f"{shown(folder)}: no such folder")
        entries = sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))
        folders = [entry for entry in entries if entry.is_dir()]
        lost = [entry for entry in entries if entry.is_symlink() and not entry.exists()]
    except OSError as error:
        refuse_folder(error)
    if lost:
        raise DataError(f"{shown(lost[0])}: is a link to nothing")
    loose = [entry for entry in entries if is_image(entry) and entry not in folders]
    if loose:
        raise DataError(f"{shown(loose[0])}: lies in no folder of a class, and every image must")
    return [entry.name for entry in folders]
