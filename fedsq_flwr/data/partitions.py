"""Sharing samples out among silos, by the partitioners of flwr-datasets."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from fedsq_flwr.errors import DataError

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner

PARTITIONS = ("dirichlet", "iid")


def partition_samples(
    labels: Tensor, *, name: str, silos: int, alpha: float, min_size: int, seed: int
) -> list[list[int]]:
    """Assign every sample to exactly one silo.

    Parameters
    ----------
    labels : Tensor
        ``(N,)`` int64, the classes that a Dirichlet partition skews.
    name : {"dirichlet", "iid"}
        Kind of partition.
    silos : int
        Number of silos.
    alpha : float
        Dirichlet concentration, > 0.
    min_size : int
        Fewest samples of a silo; Dirichlet draws are repeated until every silo has them.
    seed : int
        Non-negative.

    Returns
    -------
    list of list of int
        For each silo the indices of its samples.

    Raises
    ------
    DataError
        If there are too few samples, or no Dirichlet draw out of eleven gave every silo ``min_size``.
    """
    from datasets import Dataset  # takes seconds to import, so only where it is needed

    if silos * min_size > len(labels):
        raise DataError(
            f"silos={silos} with partition.min_size={min_size} need {silos * min_size} samples; "
            f"there are {len(labels)}"
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    partitioner = _partitioner(name, silos, alpha, min_size, seed % 2**32)
    partitioner.dataset = Dataset.from_dict({"index": order, "label": labels.numpy()[order]})
    try:
        with warnings.catch_warnings():  # each repeated draw warns at length; the error below says it once
            warnings.simplefilter("ignore")
            return [list(partitioner.load_partition(silo)["index"]) for silo in range(silos)]
    except ValueError as error:
        raise DataError(
            f"partition.alpha={alpha} over silos={silos}: no draw gave every silo partition.min_size={min_size} "
            f"of {len(labels)} samples; raise partition.alpha, or lower partition.min_size or silos"
        ) from error


def _partitioner(name: str, silos: int, alpha: float, min_size: int, seed: int) -> "Partitioner":
    from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner

    if name == "iid":
        return IidPartitioner(num_partitions=silos)
    return DirichletPartitioner(
        num_partitions=silos, partition_by="label", alpha=alpha, min_partition_size=min_size, seed=seed
    )
