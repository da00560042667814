"""The partitioner of flwr-datasets for each kind of partition, and what it is given."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedsq_flwr.data.partition_plan import PartitionPlan
from fedsq_flwr.errors import DataError

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner


def make_partitioner(plan: PartitionPlan, samples: int, seed: int, draw: np.random.Generator) -> "Partitioner":
    """Return the partitioner of ``plan`` for a data set with the columns ``label`` and, if natural, ``silo``.

    Parameters
    ----------
    plan : PartitionPlan
        The kind of partition.
    samples : int
        Samples that are shared out.
    seed : int
        Of a Dirichlet partition, which is drawn by flwr-datasets alone.
    draw : numpy.random.Generator
        What the other kinds draw from; it moves on, so that a second call gives another partition.

    Raises
    ------
    ValueError
        If the silos' sizes that were drawn are too small.
    """
    from flwr_datasets.partitioner import (
        DirichletPartitioner,
        GroupedNaturalIdPartitioner,
        IidPartitioner,
        PathologicalPartitioner,
        ShardPartitioner,
        SizePartitioner,
    )

    silos = plan.silos
    if plan.name == "iid":
        return IidPartitioner(silos)
    if plan.name == "dirichlet":
        return DirichletPartitioner(
            silos, partition_by="label", alpha=plan.alpha, min_partition_size=plan.min_size, seed=seed
        )
    if plan.name == "pathological":  # first-deterministic is the original's: with silos enough, each class has one
        return PathologicalPartitioner(
            silos, "label", plan.classes_per_silo, "first-deterministic", seed=int(draw.integers(2**32))
        )
    if plan.name == "shards":  # by their size, rounded up: by their number, the samples left over go to no silo
        size, own = shard_size(plan, samples), int(draw.integers(2**32))
        return ShardPartitioner(silos, "label", shard_size=size, keep_incomplete_shard=True, seed=own)
    if plan.name == "quantity":
        return SizePartitioner(_draw_sizes(plan, samples, draw))
    # As NaturalIdPartitioner, which would draw a progress bar across the screen.
    return GroupedNaturalIdPartitioner("silo", group_size=1, sort_unique_ids=True)


def shard_size(plan: PartitionPlan, samples: int) -> int:
    """Return the samples of a shard; the last shard may have fewer."""
    return math.ceil(samples / (plan.silos * plan.shards_per_silo))


def silo_of_each(groups: Sequence[str] | None, silos: int, merge: bool) -> NDArray[np.int64]:
    """Return the silo of each sample, whose groups stay whole.

    Groups are in the order of their names, as texts. Where there are more than silos, neighbours are merged,
    as many to a silo as to any other or one less.

    Raises
    ------
    DataError
        If the data have no groups, or another number of them than there are silos and ``merge`` does not help.
    """
    if groups is None:
        raise DataError("partition=natural: this data set does not say which group a sample is of")
    names, group_of_each = np.unique(np.array(groups), return_inverse=True)
    if len(names) < silos or (len(names) > silos and not merge):
        merged = "" if len(names) < silos else ", or partition.merge_groups=true"
        raise DataError(
            f"silos={silos}: with partition=natural each of the {len(names)} groups is a silo; "
            f"set silos={len(names)}{merged}"
        )
    silo_of_group = np.repeat(np.arange(silos), [len(part) for part in np.array_split(names, silos)])
    return np.asarray(silo_of_group[group_of_each.reshape(-1)], dtype=np.int64)


def _draw_sizes(plan: PartitionPlan, samples: int, draw: np.random.Generator) -> list[int]:
    """Draw the silos' shares of all samples from a Dirichlet distribution: the quantity skew of Li et al. (2022)."""
    shares = draw.dirichlet(np.full(plan.silos, plan.alpha))
    cuts = (np.cumsum(shares)[:-1] * samples).astype(int)
    sizes: list[int] = np.diff([0, *cuts, samples]).tolist()
    if min(sizes) < plan.min_size:
        raise ValueError("a silo is too small")
    return sizes
