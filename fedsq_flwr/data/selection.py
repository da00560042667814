"""A part of a task: some of its classes, and a limited number of samples."""

from collections.abc import Sequence
from dataclasses import replace

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
        At most this many samples of the pool stay, see `chosen_places`.
    test_limit : int, optional
        Likewise of the test set, and of the validation set where the source has one.

    Raises
    ------
    DataError
        If a class is unknown.
    """
    class_names = source.class_names if classes is None else tuple(classes)
    unknown = [name for name in class_names if name not in source.class_names]
    if unknown:
        raise DataError(f"data.classes={unknown[0]}: is none of the classes {', '.join(source.class_names)}")
    new = torch.full((len(source.class_names),), -1)
    new[[source.class_names.index(name) for name in class_names]] = torch.arange(len(class_names))

    def at(images: LabelledImages, places: Tensor) -> LabelledImages:
        few = images.subset(places) if len(places) < len(images) else images
        return LabelledImages(few.images, new[few.labels])

    def chosen(images: LabelledImages) -> LabelledImages:
        return at(images, chosen_places(new[images.labels], test_limit))

    in_pool = chosen_places(new[source.pool.labels], limit)
    return replace(
        source,
        pool=at(source.pool, in_pool),
        test=chosen(source.test),
        class_names=class_names,
        validation=None if source.validation is None else chosen(source.validation),
        groups=None if source.groups is None else tuple(source.groups[place] for place in in_pool.tolist()),
    )


def chosen_places(labels: Tensor, limit: int | None) -> Tensor:
    """Return the places of at most ``limit`` samples that have a class, in their order.

    Classes stay in proportion (largest remainders). Which samples stay is drawn once and for all, whatever the seed
    of a run: runs of other seeds then learn from the same images, and where classes have equally many samples, a
    larger limit has those of a smaller one too (our choice).

    Parameters
    ----------
    labels : Tensor
        ``(N,)`` int64; -1 for a sample of no class.
    limit : int, optional
        By default all that have a class.

    Returns
    -------
    Tensor
        int64.
    """
    places = torch.nonzero(labels >= 0)[:, 0]
    if limit is None or len(places) <= limit:
        return places
    its = labels[places].numpy()
    shares = np.bincount(its) * limit / len(its)
    takes = np.floor(shares).astype(np.int64)
    most = np.argsort(-(shares - takes), kind="stable")
    takes[most[: limit - takes.sum()]] += 1
    order = np.random.default_rng(0).permutation(len(its))
    drawn = np.concatenate([order[its[order] == label][:take] for label, take in enumerate(takes)])
    return places[torch.from_numpy(np.sort(drawn))]
