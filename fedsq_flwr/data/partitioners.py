"""The partitioners of flwr-datasets for each kind of partition.

A new kind needs a class in ``settings/partition.py``, a function here and a file in ``conf/partition``.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedsq_flwr.errors import DataError
from fedsq_flwr.settings.partition import Dirichlet, Iid, Natural, PartitionSettings, Pathological, Quantity, Shards

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner


@dataclass(frozen=True)
class Pool:
    """What is distributed.

    Attributes
    ----------
    silos, samples, classes : int
        How many there are.
    seed : int
        For kinds that flwr-datasets draws alone.
    draw : numpy.random.Generator
        What the other kinds draw from. It moves on, so that a second candidate is another partition.
    """

    silos: int
    samples: int
    classes: int
    seed: int
    draw: np.random.Generator


@singledispatch
def candidates(partition: PartitionSettings, pool: Pool) -> Iterator["Partitioner"]:
    """Yield partitioners for a data set with the columns ``label`` and, for natural partitions, ``silo``.

    The first one whose partition fits is used: kinds whose draws do not all fit yield several.

    Raises
    ------
    DataError
        If no draw can fit.
    """
    raise NotImplementedError(f"no partitioner is registered for {type(partition).__name__}")


@candidates.register(Iid)
def _(partition: Iid, pool: Pool) -> Iterator["Partitioner"]:  # noqa: ARG001
    from flwr_datasets.partitioner import IidPartitioner

    yield IidPartitioner(pool.silos)


@candidates.register(Dirichlet)
def _(partition: Dirichlet, pool: Pool) -> Iterator["Partitioner"]:
    from flwr_datasets.partitioner import DirichletPartitioner  # it repeats draws by itself

    yield DirichletPartitioner(
        pool.silos,
        partition_by="label",
        alpha=partition.alpha,
        min_partition_size=partition.min_size,
        seed=pool.seed,
    )


@candidates.register(Pathological)
def _(partition: Pathological, pool: Pool) -> Iterator["Partitioner"]:
    from flwr_datasets.partitioner import PathologicalPartitioner

    if partition.classes_per_silo > pool.classes:
        raise DataError(f"partition.classes_per_silo={partition.classes_per_silo}: there are {pool.classes} classes")
    if pool.silos * partition.classes_per_silo < pool.classes:
        return
    for _ in range(20):  # first-deterministic is the original's: with silos enough, each class has one
        own = int(pool.draw.integers(2**32))
        yield PathologicalPartitioner(
            pool.silos, "label", partition.classes_per_silo, "first-deterministic", seed=own
        )


@candidates.register(Shards)
def _(partition: Shards, pool: Pool) -> Iterator["Partitioner"]:
    from flwr_datasets.partitioner import ShardPartitioner

    shards = pool.silos * partition.shards_per_silo
    size = math.ceil(pool.samples / shards)  # by their number, the samples left over would go to no silo
    if (shards - 1) * size >= pool.samples:  # the last would be empty
        raise DataError(
            f"partition.shards_per_silo={partition.shards_per_silo} over silos={pool.silos}: {pool.samples} samples "
            f"do not make {shards} equal shards; lower partition.shards_per_silo or silos"
        )
    own = int(pool.draw.integers(2**32))
    yield ShardPartitioner(pool.silos, "label", shard_size=size, keep_incomplete_shard=True, seed=own)


@candidates.register(Quantity)
def _(partition: Quantity, pool: Pool) -> Iterator["Partitioner"]:
    """Draw the silos' parts of all samples from a Dirichlet distribution: the quantity skew of Li et al. (2022)."""
    from flwr_datasets.partitioner import SizePartitioner

    for _ in range(100):
        parts = pool.draw.dirichlet(np.full(pool.silos, partition.alpha))
        cuts = (np.cumsum(parts)[:-1] * pool.samples).astype(int)
        sizes: list[int] = np.diff([0, *cuts, pool.samples]).tolist()
        if min(sizes) >= partition.min_size:
            yield SizePartitioner(sizes)


@candidates.register(Natural)
def _(partition: Natural, pool: Pool) -> Iterator["Partitioner"]:  # noqa: ARG001
    from flwr_datasets.partitioner import GroupedNaturalIdPartitioner

    # As NaturalIdPartitioner, which would draw a progress bar across the screen.
    yield GroupedNaturalIdPartitioner("silo", group_size=1, sort_unique_ids=True)


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
