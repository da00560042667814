"""A part of a task: some of its classes, and at most so many samples."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.sources import DataSource
from fedsq_flwr.errors import DataError


def select(
    source: DataSource, *, classes: Sequence[str] | None, limit: int | None, test_limit: int | None
) -> DataSource:
    """Return the part of ``source`` that the settings ask for; samples stay in their order.

    Parameters
    ----------
    source : DataSource
        Is not changed.
    classes : sequence of str, optional
        Which classes stay, numbered anew in this order; by default all.
    limit : int, optional
        At most so many samples of the pool stay, see `limited`.
    test_limit : int, optional
        Likewise of the test set, and of the validation set where the source has one.

    Raises
    ------
    DataError
        If a class is unknown.
    """
    if classes is not None:
        source = _of_classes(source, classes)
    return DataSource(
        pool=limited(source.pool, limit),
        test=limited(source.test, test_limit),
        class_names=source.class_names,
        validation=None if source.validation is None else limited(source.validation, test_limit),
        groups=_at(source.groups, _drawn(source.pool.labels, limit)),
    )


def _of_classes(source: DataSource, classes: Sequence[str]) -> DataSource:
    unknown = [name for name in classes if name not in source.class_names]
    if unknown:
        raise DataError(f"data.classes={unknown[0]}: is none of the classes {', '.join(source.class_names)}")
    new = torch.full((len(source.class_names),), -1)
    new[[source.class_names.index(name) for name in classes]] = torch.arange(len(classes))

    def places(images: LabelledImages) -> Tensor:
        return torch.nonzero(new[images.labels] >= 0)[:, 0]

    def chosen(images: LabelledImages) -> LabelledImages:
        return LabelledImages(images.images[places(images)], new[images.labels[places(images)]])

    return DataSource(
        pool=chosen(source.pool),
        test=chosen(source.test),
        class_names=tuple(classes),
        validation=None if source.validation is None else chosen(source.validation),
        groups=_at(source.groups, places(source.pool)),
    )


def limited(images: LabelledImages, limit: int | None) -> LabelledImages:
    """Return at most ``limit`` samples, in their order, with the classes in proportion (largest remainders).

    Which ones is drawn once and for all, whatever the seed of a run: runs of other seeds then learn from the same
    images, and of each class a larger limit has those of a smaller one too (our choice).
    """
    places = _drawn(images.labels, limit)
    return images if places is None else images.subset(places)


def _drawn(of_each: Tensor, limit: int | None) -> Tensor | None:
    """Return the places of the samples that stay, in order; None if all do."""
    labels = of_each.numpy()
    if limit is None or len(labels) <= limit:
        return None
    counts = np.bincount(labels)
    shares = counts * limit / len(labels)
    takes = np.floor(shares).astype(np.int64)
    most = np.argsort(-(shares - takes), kind="stable")
    takes[most[: limit - takes.sum()]] += 1
    order = np.random.default_rng(0).permutation(len(labels))
    drawn = [order[labels[order] == label][:take] for label, take in enumerate(takes)]
    return torch.from_numpy(np.sort(np.concatenate(drawn)))


def _at(groups: tuple[str, ...] | None, places: Tensor | None) -> tuple[str, ...] | None:
    return groups if groups is None or places is None else tuple(groups[place] for place in places.tolist())
