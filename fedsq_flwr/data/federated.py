"""One task split for a federation: the server's validation and test sets, each silo's own parts.

All splits depend on the seed and the settings only, so the server and every silo of a simulation work
them out alike, each for itself.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.partitions import partition_samples
from fedsq_flwr.data.sources import DataSource
from fedsq_flwr.errors import DataError


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
    """What one silo has: a part to learn from, a part to judge the model on (may be empty).

    Attributes
    ----------
    train, held_out : LabelledImages
        The two parts.
    class_names : tuple of str
        Names of the classes, agreed with the server.
    unreadable : int
        Files that could not be read and were left out.
    """

    train: LabelledImages
    held_out: LabelledImages
    class_names: tuple[str, ...]
    unreadable: int = 0


@dataclass(frozen=True)
class FederatedData(ServerData):
    """The task as shared out by one process that has all of it.

    Attributes
    ----------
    train, held_out : list of LabelledImages
        For each silo, what it learns from and what it judges the model on (may be empty).
    indices : list of list of int
        For each silo, its samples' places in the pool: training part first, then the held-out part.
    """

    train: list[LabelledImages]
    held_out: list[LabelledImages]
    indices: list[list[int]]

    def of_silo(self, silo: int) -> SiloData:
        """Return what ``silo`` has."""
        return SiloData(self.train[silo], self.held_out[silo], self.class_names)

    def class_counts(self) -> list[list[int]]:
        """Return the samples of each class, training and held-out together, at each silo."""
        classes = len(self.class_names)
        labels = [torch.cat([t.labels, h.labels]) for t, h in zip(self.train, self.held_out, strict=True)]
        return [torch.bincount(silo, minlength=classes).tolist() for silo in labels]


def share_out(
    source: DataSource,
    *,
    silos: int,
    partition: str,
    alpha: float,
    min_size: int,
    validation_fraction: float,
    held_out_fraction: float,
    min_held_out: int,
    seed: int,
) -> FederatedData:
    """Split ``source`` for ``silos`` silos.

    Parameters
    ----------
    source : DataSource
        The task, images as the backbone wants them.
    silos, partition, alpha, min_size
        See `partition_samples`.
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
        If there are too few samples for the silos or for the validation set.
    """
    rest, validation = _validation(source, validation_fraction, seed)
    labels = source.pool.labels[torch.from_numpy(rest)]
    parts = partition_samples(labels, name=partition, silos=silos, alpha=alpha, min_size=min_size, seed=seed)
    indices = [[int(rest[place]) for place in part] for part in parts]
    # The partitioners shuffle each part, so its end is a random sample of it.
    cuts = [len(part) - held_out_size(len(part), held_out_fraction, min_held_out) for part in indices]
    return FederatedData(
        validation=validation,
        test=source.test,
        train=[source.pool.subset(part[:cut]) for part, cut in zip(indices, cuts, strict=True)],
        held_out=[source.pool.subset(part[cut:]) for part, cut in zip(indices, cuts, strict=True)],
        indices=indices,
        class_names=source.class_names,
    )


def _validation(source: DataSource, fraction: float, seed: int) -> tuple[np.ndarray, LabelledImages]:
    """Return the places in the pool that are to be shared out, and the validation set."""
    places = np.arange(len(source.pool))
    if source.validation is not None:
        return places, source.validation
    from sklearn.model_selection import train_test_split  # takes a second to import; real silos do without

    labels = source.pool.labels.numpy()
    try:
        rest, validation = train_test_split(places, test_size=fraction, random_state=seed % 2**32, stratify=labels)
    except ValueError as error:
        raise DataError(f"validation_fraction={fraction} of {len(labels)} samples: {error}") from error
    return rest, source.pool.subset(np.sort(validation).tolist())


def held_out_size(samples: int, fraction: float, minimum: int) -> int:
    """Return how many of a silo's samples it holds out: ``fraction`` of them, ``minimum`` at least.

    A silo with fewer than twice ``minimum`` holds none out and takes no part in the per-silo figures: it
    needs its samples to learn, and an accuracy of a handful says nothing.
    """
    if fraction == 0 or samples < 2 * minimum:
        return 0
    return min(max(math.ceil(samples * fraction), minimum), samples - 1)
