"""How a folder of images is laid out: its parts, their classes, and which image is of which. Nothing is read.

Either it holds folders ``train``, ``validation`` and ``test`` (one of them at least), each with a folder for
each class, or it holds the folders of the classes itself, which are then the part ``train``. What is hidden is
left out everywhere.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedsq_flwr.data.image_files import is_image, refuse_folder, walk_images
from fedsq_flwr.errors import DataError

PARTS = ("train", "validation", "test")


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
        raise DataError(f"{folder / beside[0]}: beside {', '.join(parts)} only {', '.join(PARTS)} may lie")
    return parts or {"train": folder}


def find_classes(parts: Mapping[str, Path]) -> tuple[str, ...]:
    """Return the names of the classes that any of the parts has a folder for, sorted.

    Raises
    ------
    DataError
        If there are fewer than two, or an image lies in no class, or a folder cannot be read.
    """
    names = sorted({name for part in parts.values() for name in _visible_folders(part)})
    if len(names) < 2:
        held = f"only one folder of a class ({names[0]})" if names else "no folder of a class"
        raise DataError(f"{' and '.join(map(str, parts.values()))}: holds {held}; at least 2 are needed")
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
            raise DataError(f"{part / name}: is none of the classes {', '.join(class_names)}")
    samples = [(path, labels[name]) for name in folders for path in walk_images(part / name)]
    if not samples:
        raise DataError(f"{part}: holds no image in the folders of its classes")
    return sorted(samples, key=lambda sample: (sample[0].name, sample[0].relative_to(part).as_posix()))


def _visible_folders(folder: Path) -> list[str]:
    """Return the names of the folders in ``folder``, sorted; links to folders are folders."""
    try:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        folders = [entry for entry in entries if entry.is_dir()]
        lost = [entry for entry in entries if entry.is_symlink() and not entry.exists()]
    except OSError as error:
        refuse_folder(error)
    if lost:
        raise DataError(f"{lost[0]}: is a link to nothing")
    loose = [entry for entry in entries if is_image(entry) and entry not in folders]
    if loose:
        raise DataError(f"{loose[0]}: lies in no folder of a class, and every image must")
    return [entry.name for entry in folders]
