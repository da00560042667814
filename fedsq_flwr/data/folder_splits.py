"""What stands in for a part that a folder of images lacks: samples of its part ``train``, drawn by a seed."""

import logging
import math
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsq_flwr.data.federated import held_out_size
from fedsq_flwr.data.groups import read_groups
from fedsq_flwr.data.image_folder import ImageFolder
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.sources import DataSource
from fedsq_flwr.errors import DataError

log = logging.getLogger(__name__)


def folder_source(folder: ImageFolder, *, test_fraction: float, seed: int, groups: Path | None = None) -> DataSource:
    """Make a folder the task of a simulation: ``train`` is distributed, the other parts are the server's.

    Parameters
    ----------
    folder : ImageFolder
        All parts that there are.
    test_fraction : float
        Where there is no part ``test``: the share of ``train`` that is the test set, with the classes in
        proportion if each has two samples and a place in it.
    seed : int
        Non-negative; fixes that split.
    groups : Path, optional
        CSV file that says which group each image of ``train`` is of; see `read_groups`.

    Raises
    ------
    DataError
        If there is no part ``train``, or it is too small to be split, or the groups are not as they should be.
    """
    pool, test = _train(folder), folder.parts.get("test")
    names = None if groups is None else _groups(folder, groups)
    if test is None:
        rest, drawn = _split(pool.labels.numpy(), test_fraction, seed)
        for label in np.setdiff1d(pool.labels[drawn].numpy(), pool.labels[rest].numpy()).tolist():
            name = folder.class_names[label]
            log.warning("the only images of the class %s are in the test set: none is left to learn from", name)
        names = None if names is None else tuple(names[place] for place in rest)
        pool, test = pool.subset(rest), pool.subset(drawn)
    return DataSource(pool, test, folder.class_names, folder.parts.get("validation"), names)


def silo_parts(
    folder: ImageFolder, *, held_out_fraction: float, min_held_out: int, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Return what a silo with a folder of its own learns from, and what it evaluates the model on.

    The latter is the part ``validation`` where there is one; otherwise it is drawn from ``train`` and may be
    empty. Both keep the folder's order.

    Parameters
    ----------
    folder : ImageFolder
        With the part ``train``, and ``validation`` if there is one.
    held_out_fraction, min_held_out
        See `held_out_size`.
    seed : int
        Non-negative; fixes which samples are held out.

    Raises
    ------
    DataError
        If there is no part ``train``.
    """
    train, held_out = _train(folder), folder.parts.get("validation")
    if held_out is not None:
        return train, held_out
    learnt, kept = _drawn(len(train), held_out_fraction, min_held_out, seed)
    return train.subset(learnt), train.subset(kept)


def held_out_files(
    folder: ImageFolder, *, held_out_fraction: float, min_held_out: int, seed: int
) -> tuple[Path, ...]:
    """Return the files of the samples that `silo_parts` holds out, in their order; the parameters are its own."""
    if "validation" in folder.parts:
        return tuple(folder.files["validation"])
    files = folder.files["train"]
    return tuple(files[place] for place in _drawn(len(files), held_out_fraction, min_held_out, seed)[1])


def _drawn(number: int, held_out_fraction: float, min_held_out: int, seed: int) -> tuple[list[int], list[int]]:
    """Return the places of the samples to learn from, and of those that are held out."""
    order = np.random.default_rng(seed).permutation(number)
    cut = number - held_out_size(number, held_out_fraction, min_held_out)
    return np.sort(order[:cut]).tolist(), np.sort(order[cut:]).tolist()


def _train(folder: ImageFolder) -> LabelledImages:
    if "train" not in folder.parts:
        raise DataError(f"{folder.path}: holds no folder train")
    return folder.parts["train"]


def _groups(folder: ImageFolder, path: Path) -> tuple[str, ...]:
    def names(files: Iterable[Path]) -> list[str]:
        return [file.relative_to(folder.path).as_posix() for file in files]

    others = chain(*folder.skipped.values(), *folder.files.values())
    return read_groups(path, names(folder.files["train"]), {*names(others)})


def _split(labels: NDArray[np.int64], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the places of the rest and of the test set."""
    from sklearn.model_selection import train_test_split  # takes a second to import; real silos do without

    _, counts = np.unique(labels, return_counts=True)
    chosen = math.ceil(len(labels) * fraction)
    in_proportion = counts.min() >= 2 and len(counts) <= min(chosen, len(labels) - chosen)
    try:
        rest, test = train_test_split(
            np.arange(len(labels)),
            test_size=fraction,
            random_state=seed % 2**32,
            stratify=labels if in_proportion else None,
        )
    except ValueError as error:
        raise DataError(
            f"data.test_fraction={fraction} of {len(labels)} samples: leaves none for training; lower it, or give a "
            "folder test"
        ) from error
    return np.sort(rest).tolist(), np.sort(test).tolist()
