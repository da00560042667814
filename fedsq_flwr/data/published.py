"""Data sets that others publish: finding their files, and reading one as the data of a run."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fedsq_flwr.data.cifar_binary import read_binary
from fedsq_flwr.data.decoded import Origin, key_of_files, read_through
from fedsq_flwr.data.hub import hub_origin
from fedsq_flwr.data.parquet_files import read_parquet
from fedsq_flwr.data.published_facts import PUBLISHED, Published
from fedsq_flwr.data.published_folders import folder_files, read_folders
from fedsq_flwr.data.sources import DataSource, load_source
from fedsq_flwr.errors import DataError
from fedsq_flwr.settings.data import PublishedData


@load_source.register
def _(data: PublishedData, cache: Path) -> DataSource:
    path = None if data.path is None else Path(data.path).expanduser()
    return load_published(data.name, path=path, revision=data.revision, cache=cache)


def load_published(name: str, *, path: Path | None, revision: str, cache: Path) -> DataSource:
    """Load a published data set: the pool is its training images.

    Parameters
    ----------
    name : str
        In `PUBLISHED`.
    path : Path, optional
        Local files, laid out as `find_origin` says; by default the hub's are used.
    revision : str
        Commit of the hub, 40 hexadecimal digits.
    cache : Path
        Directory for decoded images.

    Returns
    -------
    DataSource
        Images ``(N, 3, H, W)`` uint8, which may lie in a mapped file: not to be written to.

    Raises
    ------
    DataError
        If the files are not there, or hold something else.
    """
    facts = PUBLISHED[name]
    origin = hub_origin(name, facts, revision) if path is None else find_origin(name, facts, path)
    decoded = read_through(origin, cache)
    parts = decoded.parts
    return DataSource(parts["train"], parts["test"], decoded.class_names, parts.get("validation"))


def find_origin(name: str, facts: Published, path: Path) -> Origin:
    """Find the files of the data set ``name`` in ``path``, or in the folder ``path/name``.

    Looked for in this order, in each of the two: parquet files ``PART*.parquet``, there or in a folder just below;
    CIFAR's binary files, their folder or its archive; folders ``PART/CLASS`` of images. Every part must be there.

    Raises
    ------
    DataError
        If there is nothing of that, or it lacks a part, or CIFAR is pickled.
    """
    places = [place for place in (path / name, path) if place.exists()]
    for place in places:
        found = _parquet(facts, place) or _binary(facts, place) or _folders(facts, place)
        if found is not None:
            return found
    pickled = [found for place in places for found in _pickled(facts, place)]
    if pickled and facts.binary is not None:
        raise DataError(
            f"{pickled[0]}: is pickled, and nothing is unpickled here; take the binary version, "
            f"{facts.binary.archive}, of the same publisher"
        )
    names = [calls[0] for calls in facts.parts.values()]
    binary = f", {facts.binary.folder} or {facts.binary.archive}" if facts.binary is not None else ""
    raise DataError(
        f"data.path={path}: holds no {name}; looked, there and in {name}, for "
        f"{' and '.join(f'{part}*.parquet' for part in names)}{binary}, "
        f"and folders {' and '.join(names)} with a folder for each class; data.path=null takes it from the hub"
    )


def _parquet(facts: Published, place: Path) -> Origin | None:
    if not place.is_dir():
        return None
    found = {
        folder: {part: _shards(folder, calls) for part, calls in facts.parts.items()}
        for folder in [place, *sorted(entry for entry in place.iterdir() if entry.is_dir())]
    }
    found = {folder: files for folder, files in found.items() if any(files.values())}
    if not found:
        return None
    folder, files = next(iter(found.items()))
    if folder != place and len(found) > 1:
        raise DataError(
            f"{place}: {' and '.join(entry.name for entry in found)} hold parquet files; name one of them"
        )
    for part, paths in files.items():
        if not paths:
            raise DataError(f"{folder}: holds parquet files, but no {facts.parts[part][0]}*.parquet")
    every = [path for paths in files.values() for path in paths]
    columns = f"parquet {facts.image} {facts.label}"
    return Origin(partial(key_of_files, columns, every), partial(read_parquet, files, facts))


def _shards(folder: Path, calls: tuple[str, ...]) -> list[Path]:
    """Return the files of a part, in the order of their names."""
    return sorted({path for name in calls for path in folder.glob(f"{name}*.parquet")})


def _binary(facts: Published, place: Path) -> Origin | None:
    form = facts.binary
    if form is None:
        return None
    every = [name for files in form.files.values() for name in files]
    for folder in (place / form.folder, place):
        if (folder / every[0]).is_file():
            there = [folder / name for name in (form.names, *every) if (folder / name).is_file()]
            return Origin(partial(key_of_files, "binary", there), partial(read_binary, folder, form, facts.size))
    for archive in (place / form.archive, place):
        if archive.is_file():
            return Origin(partial(key_of_files, "binary", [archive]), partial(read_binary, archive, form, facts.size))
    return None


def _folders(facts: Published, place: Path) -> Origin | None:
    folders = {
        part: next((place / name for name in calls if (place / name).is_dir()), None)
        for part, calls in facts.parts.items()
    }
    if folders["train"] is None:
        return None
    there = {part: folder for part, folder in folders.items() if folder is not None}
    for part in folders:
        if part not in there:
            raise DataError(f"{place}: holds a folder train, but no {' or '.join(facts.parts[part])}")
    return Origin(lambda: key_of_files("folders", folder_files(there)), partial(read_folders, there, facts.size))


def _pickled(facts: Published, place: Path) -> Iterator[Path]:
    if facts.binary is not None:
        if place.name in facts.binary.pickled:
            yield place
        yield from (place / name for name in facts.binary.pickled if (place / name).exists())
