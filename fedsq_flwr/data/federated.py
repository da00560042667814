"""One task split for a federation: the server's validation and test sets, each silo's own parts.

All splits depend on the seed and the settings only, so the server and every silo of a simulation work
them out alike, each for itself.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.partitions import describe, partition_samples
from fedsq_flwr.data.sources import DataSource
from fedsq_flwr.errors import DataError
from fedsq_flwr.settings.partition import Natural, PartitionSettings


@dataclass(frozen=True)
class ServerData:
    """What the server knows of the task.

    Attributes
    ----------
    validation, test : LabelledImages
        The server's sets: every choice looks at the former, the latter is reported only. Of real silos it
        may have neither.
    class_names : tuple of str
        Names of the classes.
    """

    validation: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class SiloData:
    """What one silo has: a part to learn from, a part to evaluate the model on (may be empty).

    Attributes
    ----------
    train, held_out : LabelledImages
        The two parts.
    class_names : tuple of str
        Names of the classes, agreed with the server.
    unreadable : int
        Files that could not be read and were left out.
    held_out_files : tuple of Path
        The files of the held-out samples, where they are of a folder.
    """

    train: LabelledImages
    held_out: LabelledImages
    class_names: tuple[str, ...]
    unreadable: int = 0
    held_out_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class FederatedData(ServerData):
    """The task, distributed by one process that has all of it.

    Attributes
    ----------
    train, held_out : list of LabelledImages
        For each silo, what it learns from and what it evaluates the model on (may be empty).
    indices : list of list of int
        For each silo, its samples' places in the pool: training part first, then the held-out part.
    partition : mapping
        How the samples are distributed, as ``partition.json`` tells it.
    """

    train: list[LabelledImages]
    held_out: list[LabelledImages]
    indices: list[list[int]]
    partition: Mapping[str, Any]

    def of_silo(self, silo: int) -> SiloData:
        """Return what ``silo`` has."""
        return SiloData(self.train[silo], self.held_out[silo], self.class_names)

    def examples(self) -> list[tuple[int, int]]:
        """Return the numbers of training and of held-out samples of each silo."""
        return [(len(train), len(held_out)) for train, held_out in zip(self.train, self.held_out, strict=True)]

    def class_counts(self) -> list[list[int]]:
        """Return the samples of each class, training and held-out together, at each silo."""
        classes = len(self.class_names)
        labels = [torch.cat([t.labels, h.labels]) for t, h in zip(self.train, self.held_out, strict=True)]
        return [torch.bincount(silo, minlength=classes).tolist() for silo in labels]


def distribute(
    source: DataSource,
    partition: PartitionSettings,
    silos: int,
    *,
    validation_fraction: float,
    held_out_fraction: float,
    min_held_out: int,
    seed: int,
) -> FederatedData:
    """Split ``source`` as ``partition`` says.

    Parameters
    ----------
    source : DataSource
        The task, images as the backbone wants them.
    partition : PartitionSettings
        The kind of partition.
    silos : int
        Number of silos.
    validation_fraction : float
        Share of the pool that the server keeps for validation, classes in proportion; not used where the task
        has a validation set.
    held_out_fraction, min_held_out
        See `held_out_size`.
    seed : int
        Non-negative; fixes every split.

    Raises
    ------
    DataError
        If the samples do not suffice for the silos or for the validation set, or not as the partition wants them.
    """
    rest, validation = _validation(source, validation_fraction, seed)
    labels = source.pool.labels[torch.from_numpy(rest)]
    groups = None if source.groups is None else [source.groups[place] for place in rest]
    parts = partition_samples(labels, partition, silos, seed=seed, groups=groups)
    indices = [[int(rest[place]) for place in part] for part in parts]
    # The partitioners shuffle each part, so its end is a random sample of it.
    held_out = [held_out_size(len(part), held_out_fraction, min_held_out) for part in indices]
    described = describe(partition, seed)
    if source.groups is not None and isinstance(partition, Natural):
        described["groups"] = [sorted({source.groups[place] for place in part}) for part in indices]
    return build(source, validation, indices, held_out, described)


def build(
    source: DataSource,
    validation: LabelledImages,
    indices: list[list[int]],
    held_out: Sequence[int],
    partition: Mapping[str, Any],
) -> FederatedData:
    """Put the federation together, where it is known which silo has which places of the pool.

    ``held_out`` counts, for each silo, the last of its places, which are held out.
    """
    cuts = [len(part) - size for part, size in zip(indices, held_out, strict=True)]
    return FederatedData(
        validation=validation,
        test=source.test,
        train=[source.pool.subset(part[:cut]) for part, cut in zip(indices, cuts, strict=True)],
        held_out=[source.pool.subset(part[cut:]) for part, cut in zip(indices, cuts, strict=True)],
        indices=indices,
        partition={**partition, "labels_sha256": labels_digest(source.pool.labels)},
        class_names=source.class_names,
    )


def labels_digest(labels: Tensor) -> str:
    """Return the sha256 of the labels in their order, by which a pool is known again."""
    return hashlib.sha256(labels.numpy().astype("<i8").tobytes()).hexdigest()


def _validation(source: DataSource, fraction: float, seed: int) -> tuple[np.ndarray, LabelledImages]:
    """Return the places in the pool that are distributed, and the validation set."""
    places = np.arange(len(source.pool))
    if source.validation is not None:
        return places, source.validation
    from sklearn.model_selection import train_test_split  # takes a second to import; real silos do without

    labels = source.pool.labels.numpy()
    _check_proportions(labels, source.class_names, fraction)
    rest, validation = train_test_split(places, test_size=fraction, random_state=seed % 2**32, stratify=labels)
    return rest, source.pool.subset(np.sort(validation).tolist())


def _check_proportions(labels: np.ndarray, class_names: Sequence[str], fraction: float) -> None:
    """Refuse a pool of which no validation set can be taken that has every class in proportion."""
    where = f"validation_fraction={fraction} of {len(labels)} samples"
    present, counts = np.unique(labels, return_counts=True)
    single = [class_names[label] for label in present[counts == 1]]
    if single:
        have = f"the class {single[0]} has"
        if len(single) > 1:
            have = f"{len(single)} classes, the first {single[0]}, have"
        raise DataError(
            f"{where}: {have} one sample, where training and validation need one each; add samples, leave out such a "
            "class (data.classes), or have a folder validation"
        )
    chosen = math.ceil(len(labels) * fraction)
    for size, what, remedy in ((chosen, "validation", "raise"), (len(labels) - chosen, "training", "lower")):
        if size < max(len(present), 1):
            raise DataError(
                f"{where}: leaves {size} for {what}, where each of the {len(present)} classes needs one; {remedy} "
                "validation_fraction, or add samples"
            )


def held_out_size(samples: int, fraction: float, minimum: int) -> int:
    """Return how many of a silo's samples it holds out: ``fraction`` of them, ``minimum`` at least.

    A silo with fewer than twice ``minimum`` holds none out and takes no part in the per-silo figures: it
    needs its samples to learn, and an accuracy of a handful says nothing.
    """
    if fraction == 0 or samples < 2 * minimum:
        return 0
    return min(max(math.ceil(samples * fraction), minimum), samples - 1)
