"""Sharing samples out among silos, by the partitioners of flwr-datasets."""

import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from fedsq_flwr.data.partition_plan import PARAMETERS, PartitionPlan
from fedsq_flwr.data.partitioners import make_partitioner, shard_size, silo_of_each
from fedsq_flwr.errors import DataError

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner

#: How often a partition is drawn, by kind, where not every draw fits; flwr-datasets itself repeats a Dirichlet draw.
DRAWS: Mapping[str, int] = MappingProxyType({"dirichlet": 1, "pathological": 20, "quantity": 100})


def partition_samples(
    labels: Tensor, plan: PartitionPlan, *, seed: int, groups: Sequence[str] | None = None
) -> list[list[int]]:
    """Assign every sample to exactly one silo.

    Parameters
    ----------
    labels : Tensor
        ``(N,)`` int64, the classes.
    plan : PartitionPlan
        The kind of partition.
    seed : int
        Non-negative.
    groups : sequence of str, optional
        The group of each sample, which a natural partition goes by.

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
    _refuse_impossible(plan, samples, classes)
    draw = np.random.default_rng(seed)
    order = draw.permutation(samples)
    columns = {"index": order, "label": labels.numpy()[order]}
    if plan.name == "natural":
        columns["silo"] = silo_of_each(groups, plan.silos, plan.merge_groups)[order]
    dataset = Dataset.from_dict(columns)
    with warnings.catch_warnings():  # each draw in vain warns at length; the error below says it once
        warnings.simplefilter("ignore")
        if plan.name not in DRAWS:
            parts = _parts(make_partitioner(plan, samples, seed % 2**32, draw), dataset, plan.silos)
            check_sizes(list(map(len, parts)), plan.min_size)
            return parts
        possible = plan.name != "pathological" or plan.silos * plan.classes_per_silo >= classes
        for _ in range(DRAWS[plan.name] if possible else 0):
            try:
                parts = _parts(make_partitioner(plan, samples, seed % 2**32, draw), dataset, plan.silos)
            except ValueError:  # how flwr-datasets says that a draw does not fit
                continue
            if min(map(len, parts)) >= plan.min_size and sum(map(len, parts)) == samples:
                return parts
    raise DataError(_complaint(plan, samples, classes))


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


def _refuse_impossible(plan: PartitionPlan, samples: int, classes: int) -> None:
    needed = plan.silos * plan.min_size
    if needed > samples:
        raise DataError(
            f"silos={plan.silos} with partition.min_size={plan.min_size} need {needed} samples; there are {samples}"
        )
    if plan.name == "pathological" and plan.classes_per_silo > classes:
        raise DataError(f"partition.classes_per_silo={plan.classes_per_silo}: there are {classes} classes")
    if plan.name == "shards":
        shards = plan.silos * plan.shards_per_silo
        if (shards - 1) * shard_size(plan, samples) >= samples:  # the last would be empty
            raise DataError(
                f"partition.shards_per_silo={plan.shards_per_silo} over silos={plan.silos}: {samples} samples do "
                f"not make {shards} equal shards; lower partition.shards_per_silo or silos"
            )


def _complaint(plan: PartitionPlan, samples: int, classes: int) -> str:
    """Say in one line why no draw did."""
    parameter = f"partition.{PARAMETERS[plan.name]}"
    wanted = f"every silo partition.min_size={plan.min_size} of {samples} samples"
    remedy = "lower partition.min_size or silos"
    if plan.name == "pathological":  # where fewer silos would leave more classes to none
        wanted, remedy = (
            f"each of the {classes} classes a silo, and {wanted}",
            "lower partition.min_size, or take partition=shards",
        )
    return (
        f"{parameter}={getattr(plan, PARAMETERS[plan.name])} over silos={plan.silos}: no draw gave {wanted}; "
        f"raise {parameter}, or {remedy}"
    )
