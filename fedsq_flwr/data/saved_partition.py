"""A partition that another run saved: the same samples to the same silos, training and held-out parts alike."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from fedsq_flwr.data.federated import FederatedData, build, labels_digest
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.partitions import check_sizes
from fedsq_flwr.data.sources import DataSource
from fedsq_flwr.errors import DataError
from fedsq_flwr.settings.fields import catalogue
from fedsq_flwr.settings.run import RunSettings

#: What of a saved partition does not say how it was drawn.
_NOT_DRAWN = ("counts", "held_out", "indices", "class_names", "validation", "test", "labels_sha256", "file")


@dataclass(frozen=True)
class SavedPartition:
    """What a run's ``partition.json`` says.

    Attributes
    ----------
    path : Path
        The file.
    seed : int
        What all splits of the data were drawn by.
    drawn : mapping
        How the silos were drawn: the kind, its parameter, the seed, the groups.
    class_names : tuple of str
        Names of the classes.
    validation : int
        Samples of the server's validation set.
    indices : list of list of int
        For each silo its samples' places in the pool, training part first.
    held_out : list of int
        For each silo, how many of them are held out.
    counts : list of list of int
        For each silo the samples of each class.
    labels_sha256 : str, optional
        Digest of the pool's labels; earlier versions did not write it.
    """

    path: Path
    seed: int
    drawn: Mapping[str, Any]
    class_names: tuple[str, ...]
    validation: int
    indices: list[list[int]]
    held_out: list[int]
    counts: list[list[int]]
    labels_sha256: str | None


def read_partition(path: Path) -> SavedPartition:
    """Read a ``partition.json``, or that of a run's directory.

    Raises
    ------
    DataError
        One line, if there is none, or it is damaged, or names no samples since the silos were real.
    """
    file = path / "partition.json" if path.is_dir() else path
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        _refuse(path, "there is no such file")
    except (OSError, ValueError) as error:
        _refuse(path, f"cannot be read: {' '.join(str(error).split())}")
    if not isinstance(saved, dict):
        _refuse(path, "is no partition of a run")
    if "indices" not in saved:
        _refuse(path, "does not say which samples a silo has; real silos keep that to themselves")
    if not _is_whole(saved):
        _refuse(path, "is damaged: what a run writes is missing or of another kind")
    return SavedPartition(
        path=path,
        seed=saved["seed"],
        drawn=_drawn(saved),
        class_names=tuple(saved["class_names"]),
        validation=saved["validation"],
        indices=saved["indices"],
        held_out=saved["held_out"],
        counts=saved["counts"],
        labels_sha256=saved.get("labels_sha256"),
    )


def reuse_partition(source: DataSource, saved: SavedPartition, *, silos: int, min_size: int) -> FederatedData:
    """Distribute ``source`` as ``saved`` says; what no silo has is the server's validation set.

    Raises
    ------
    DataError
        One line, if it is not that of so many silos and of this data set.
    """
    if len(saved.indices) != silos:
        raise DataError(f"silos={silos}: partition.file={saved.path} is of {len(saved.indices)} silos")
    check_sizes([len(part) for part in saved.indices], min_size)
    validation = _check_pool(source, saved)
    partition = {**saved.drawn, "file": str(saved.path)}
    built = build(source, validation, saved.indices, saved.held_out, partition)
    if built.class_counts() != saved.counts:
        _refuse(saved.path, "is of another data set: the classes of its samples differ")
    return built


def _check_pool(source: DataSource, saved: SavedPartition) -> LabelledImages:
    """Check the indices against the pool, and return the validation set."""
    if saved.class_names != source.class_names:
        _refuse(saved.path, "is of another data set: the names of the classes differ")
    own, size = source.validation, len(source.pool)
    places = list(chain.from_iterable(saved.indices))
    of_pool, told = (saved.validation, 0) if own is None else (0, saved.validation)
    if len(places) + of_pool != size or told != (0 if own is None else len(own)):
        its = f"its {len(places)} samples and {saved.validation} for validation"
        _refuse(saved.path, f"is of another data set: {its} are not those of a pool of {size}")
    if places and max(places) >= size:
        _refuse(saved.path, f"names sample {max(places)}; there are {size}, from 0")
    used = np.bincount(places, minlength=size)
    if used.max() > 1:
        _refuse(saved.path, f"has sample {used.argmax()} more than once")
    if saved.labels_sha256 not in (None, labels_digest(source.pool.labels)):
        _refuse(saved.path, "is of another data set, or of its samples in another order: the labels differ")
    return source.pool.subset(torch.from_numpy(np.flatnonzero(used == 0))) if own is None else own


def _drawn(saved: Mapping[str, Any]) -> dict[str, Any]:
    drawn = {"alpha": None} | {name: value for name, value in saved.items() if name not in _NOT_DRAWN}
    if saved["name"] not in catalogue(RunSettings)["partition.alpha"].fields:  # earlier versions wrote it for any
        drawn["alpha"] = None
    return drawn


def _refuse(path: Path, why: str) -> NoReturn:
    raise DataError(f"partition.file={path}: {why}")


def _is_whole(saved: Mapping[str, Any]) -> bool:
    """Tell whether everything is there and of its kind."""
    names, digest = saved.get("class_names"), saved.get("labels_sha256")
    indices, held_out, counts = (saved.get(name, []) for name in ("indices", "held_out", "counts"))
    if not (isinstance(names, list) and isinstance(saved.get("name"), str)):
        return False
    if not (_is_count(saved.get("seed")) and _is_count(saved.get("validation")) and _are_counts(held_out)):
        return False
    if not all(isinstance(table, list) and all(map(_are_counts, table)) for table in (indices, counts)):
        return False
    return (
        len(indices) == len(held_out) == len(counts)
        and all(size < len(part) for size, part in zip(held_out, indices, strict=True))
        and isinstance(digest, str | None)
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(map(_is_count, values))
