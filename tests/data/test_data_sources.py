"""The data sets that ship inside Python packages."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits as sklearn_digits

from fedsq_flwr.data import SOURCES, load_source
from fedsq_flwr.data.sources import DIGITS_TEST_SIZE, MNIST_NORMALISATION, load_mnist_subset


def test_the_digits_test_set_is_the_last_360_in_stored_order() -> None:
    source, stored = load_source("digits"), sklearn_digits()
    assert DIGITS_TEST_SIZE == len(source.test) == 360
    assert len(source.pool) == 1797 - 360
    assert np.array_equal(source.test.images[:, 0].numpy() * 16, stored.images[-360:])
    assert np.array_equal(source.pool.images[:, 0].numpy() * 16, stored.images[:-360])
    assert source.test.labels.tolist() == stored.target[-360:].tolist()
    assert source.pool.labels.tolist() == stored.target[:-360].tolist()


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_images_between_0_and_1_with_labels_of_its_classes(name: str) -> None:
    source = load_source(name)
    for part in (source.pool, source.test):
        assert part.images.ndim == 4
        assert part.images.dtype == torch.float32
        assert part.labels.dtype == torch.int64
        assert 0 <= part.images.min() < part.images.max() <= 1
        assert set(part.labels.tolist()) == set(range(len(source.class_names)))


def test_the_mnist_subset_has_500_digits_of_each_class() -> None:
    digits = load_mnist_subset()
    assert digits.images.shape == (5000, 1, 28, 28)
    assert digits.images.dtype == torch.float32
    assert torch.bincount(digits.labels).tolist() == [500] * 10
    assert digits.images.max() == 1
    assert digits.images.mean().item() == pytest.approx(MNIST_NORMALISATION["mean"], abs=0.005)
    assert digits.images.std().item() == pytest.approx(MNIST_NORMALISATION["std"], abs=0.005)


def test_an_unknown_source_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="cifar1000"):
        load_source("cifar1000")
