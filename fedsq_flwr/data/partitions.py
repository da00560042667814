"""Distributing samples among silos, by the partitioners of flwr-datasets."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from fedsq_flwr.data.partitioners import Pool, candidates, silo_of_each
from fedsq_flwr.errors import DataError
from fedsq_flwr.settings.partition import Natural, PartitionSettings, Pathological

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner


def partition_samples(
    labels: Tensor,
    partition: PartitionSettings,
    silos: int,
    *,
    seed: int,
    groups: Sequence[str] | None = None,
) -> list[list[int]]:
    """Assign every sample to exactly one silo.

    Parameters
    ----------
    labels : Tensor
        ``(N,)`` int64, the classes.
    partition : PartitionSettings
        The kind of partition, with its parameters.
    silos : int
        Number of silos.
    seed : int
        Non-negative.
    groups : sequence of str, optional
        The group of each sample, which a natural partition needs.

    Returns
    -------
    list of list of int
        For each silo the indices of its samples, in random order.

    Raises
    ------
    DataError
        If there are too few samples, classes or groups, or no draw gave every silo ``min_size``.
    """
    from datasets import Dataset  # takes seconds to import, so only where it is needed

    samples, classes = len(labels), len(np.unique(labels.numpy()))
    needed = silos * partition.min_size
    if needed > samples:
        raise DataError(
            f"silos={silos} with partition.min_size={partition.min_size} need {needed} samples; there are {samples}"
        )
    draw = np.random.default_rng(seed)
    order = draw.permutation(samples)
    columns = {"index": order, "label": labels.numpy()[order]}
    if isinstance(partition, Natural):
        columns["silo"] = silo_of_each(groups, silos, partition.merge_groups)[order]
    dataset = Dataset.from_dict(columns)
    tried = 0
    sizes: list[int] = []
    with warnings.catch_warnings():  # each draw in vain warns at length; the error below says it once
        warnings.simplefilter("ignore")
        pool = Pool(silos, samples, classes, seed % 2**32, draw)
        for tried, partitioner in enumerate(candidates(partition, pool), start=1):  # noqa: B007 - read below
            try:
                parts = _parts(partitioner, dataset, silos)
            except ValueError:  # how flwr-datasets says that a draw does not fit
                continue
            sizes = list(map(len, parts))
            if min(sizes) >= partition.min_size and sum(sizes) == samples:
                return parts
    if tried == 1:  # the kind has no other draw, so the sizes say more
        check_sizes(sizes, partition.min_size)
    raise DataError(_complaint(partition, silos, samples, classes))


def parameters(partition: PartitionSettings) -> dict[str, float]:
    """Return the numbers that a kind of partition depends on, beside the seed and the silos."""
    common = {"min_size", "seed"}
    return {
        name: value
        for name, value in partition.plain().items()
        if name not in common and isinstance(value, int | float) and not isinstance(value, bool)
    }


def describe(partition: PartitionSettings, seed: int) -> dict[str, Any]:
    """Return the kind, its parameters and the seed; ``alpha`` is None where it has no meaning."""
    return {"name": partition.name, "alpha": None, **parameters(partition), "seed": seed}


def check_sizes(sizes: Sequence[int], min_size: int) -> None:
    """Refuse silos that are too small.

    Raises
    ------
    DataError
        One line that names the first of them.
    """
    for silo, size in enumerate(sizes):
        if size < min_size:
            raise DataError(f"partition.min_size={min_size}: silo {silo} has {size} samples; lower it")


def _parts(partitioner: "Partitioner", dataset: Any, silos: int) -> list[list[int]]:
    partitioner.dataset = dataset
    return [list(partitioner.load_partition(silo)["index"]) for silo in range(silos)]


def _complaint(partition: PartitionSettings, silos: int, samples: int, classes: int) -> str:
    """Say in one line why no draw did."""
    name, value = next(iter(parameters(partition).items()), ("name", partition.name))
    wanted = f"every silo partition.min_size={partition.min_size} of {samples} samples"
    remedy = "lower partition.min_size or silos"
    if isinstance(partition, Pathological):  # where fewer silos would leave more classes to none
        wanted = f"each of the {classes} classes a silo, and {wanted}"
        remedy = "lower partition.min_size, or take partition=shards"
    return f"partition.{name}={value} over silos={silos}: no draw gave {wanted}; raise partition.{name}, or {remedy}"
