"""A part of a task: some of its classes, and at most so many samples."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

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
    return replace(
        source,
        pool=limited(source.pool, limit),
        test=limited(source.test, test_limit),
        validation=None if source.validation is None else limited(source.validation, test_limit),
    )


def _of_classes(source: DataSource, classes: Sequence[str]) -> DataSource:
    unknown = [name for name in classes if name not in source.class_names]
    if unknown:
        raise DataError(f"data.classes={unknown[0]}: is none of the classes {', '.join(source.class_names)}")
    new = torch.full((len(source.class_names),), -1)
    new[[source.class_names.index(name) for name in classes]] = torch.arange(len(classes))

    def chosen(images: LabelledImages) -> LabelledImages:
        labels = new[images.labels]
        places = torch.nonzero(labels >= 0)[:, 0]
        return LabelledImages(images.images[places], labels[places])

    validation = None if source.validation is None else chosen(source.validation)
    return DataSource(chosen(source.pool), chosen(source.test), tuple(classes), validation)


def limited(images: LabelledImages, limit: int | None) -> LabelledImages:
    """Return at most ``limit`` samples, in their order, with the classes in proportion (largest remainders).

    Which ones is drawn once and for all, whatever the seed of a run: runs of other seeds then learn from the same
    images, and of each class a larger limit has those of a smaller one too (our choice).
    """
    if limit is None or len(images) <= limit:
        return images
    labels = images.labels.numpy()
    counts = np.bincount(labels)
    shares = counts * limit / len(labels)
    takes = np.floor(shares).astype(np.int64)
    most = np.argsort(-(shares - takes), kind="stable")
    takes[most[: limit - takes.sum()]] += 1
    order = np.random.default_rng(0).permutation(len(labels))
    drawn = [order[labels[order] == label][:take] for label, take in enumerate(takes)]
    return images.subset(np.sort(np.concatenate(drawn)).tolist())
