"""A partition that another run saved: the same samples to the same silos, training and held-out parts alike."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from fedsq_flwr.data.federated import FederatedData, build, labels_digest
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.partitions import check_sizes
from fedsq_flwr.data.sources import DataSource
from fedsq_flwr.errors import DataError
from fedsq_flwr.files import read_as
from fedsq_flwr.settings.partition_file import PARTITION, PartitionFile


@dataclass(frozen=True)
class SavedPartition:
    """The partition of another run.

    Attributes
    ----------
    path : Path
        As ``partition.file`` names it.
    seed : int
        What all splits of the data were drawn by.
    content : PartitionFile
        What the file holds.
    """

    path: Path
    seed: int
    content: PartitionFile


def read_partition(path: Path) -> SavedPartition:
    """Read a ``partition.json``, or that of a run's directory.

    Raises
    ------
    DataError
        One line, if there is none, or it is damaged, or names no samples since the silos were real.
    """
    content = read_as(PartitionFile, path / PARTITION if path.is_dir() else path, f"partition.file={path}")
    if content.seed is None or not content.indices:
        _refuse(path, "does not say which samples a silo has; real silos keep that to themselves")
    return SavedPartition(path, content.seed, content)


def reuse_partition(source: DataSource, saved: SavedPartition, *, silos: int, min_size: int) -> FederatedData:
    """Distribute ``source`` as ``saved`` says; what no silo has is the server's validation set.

    Raises
    ------
    DataError
        One line, if it has another number of silos or is of another data set.
    """
    content = saved.content
    if len(content.indices) != silos:
        raise DataError(f"silos={silos}: partition.file={saved.path} is of {len(content.indices)} silos")
    check_sizes([len(part) for part in content.indices], min_size)
    validation = _check_pool(source, saved)
    indices = [list(part) for part in content.indices]
    built = build(source, validation, indices, content.held_out, {**content.drawn(), "file": str(saved.path)})
    if built.class_counts() != [list(row) for row in content.counts]:
        _refuse(saved.path, "is of another data set: the classes of its samples differ")
    return built


def _check_pool(source: DataSource, saved: SavedPartition) -> LabelledImages:
    """Check the indices against the pool, and return the validation set."""
    path, content = saved.path, saved.content
    if content.class_names != source.class_names:
        _refuse(path, "is of another data set: the names of the classes differ")
    own, size = source.validation, len(source.pool)
    places = list(chain.from_iterable(content.indices))
    of_pool, told = (content.validation, 0) if own is None else (0, content.validation)
    if len(places) + of_pool != size or told != (0 if own is None else len(own)):
        its = f"its {len(places)} samples and {content.validation} for validation"
        _refuse(path, f"is of another data set: {its} are not those of a pool of {size}")
    if places and max(places) >= size:
        _refuse(path, f"names sample {max(places)}; there are {size}, from 0")
    used = np.bincount(places, minlength=size)
    if used.max() > 1:
        _refuse(path, f"has sample {used.argmax()} more than once")
    if content.labels_sha256 not in (None, labels_digest(source.pool.labels)):
        _refuse(path, "is of another data set, or of its samples in another order: the labels differ")
    return source.pool.subset(torch.from_numpy(np.flatnonzero(used == 0))) if own is None else own


def _refuse(path: Path, why: str) -> NoReturn:
    raise DataError(f"partition.file={path}: {why}")
