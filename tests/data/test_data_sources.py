"""The data sets that ship inside Python packages."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits as sklearn_digits

from fedsq_flwr.data import load_source
from fedsq_flwr.data.sources import DIGITS_TEST_SIZE, MNIST_NORMALISATION, load_digits, load_mnist_subset
from fedsq_flwr.settings.data import DataSettings, ImageFolderData, PublishedData
from fedsq_flwr.settings.fields import variants_of
from fedsq_flwr.settings.run import RunSettings

KINDS = variants_of(RunSettings.model_fields["data"])


def test_the_digits_test_set_is_the_last_360_in_stored_order() -> None:
    source, stored = load_digits(), sklearn_digits()
    assert DIGITS_TEST_SIZE == len(source.test) == 360
    assert len(source.pool) == 1797 - 360
    assert np.array_equal(source.test.images[:, 0].numpy() * 16, stored.images[-360:])
    assert np.array_equal(source.pool.images[:, 0].numpy() * 16, stored.images[:-360])
    assert source.test.labels.tolist() == stored.target[-360:].tolist()
    assert source.pool.labels.tolist() == stored.target[:-360].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_every_data_set_can_be_loaded_but_for_a_users_own_folders(kind: type[DataSettings]) -> None:
    registered = load_source.dispatch(kind) is not load_source.dispatch(object)
    assert registered is not issubclass(kind, ImageFolderData)  # which are fitted while they are read


@pytest.mark.parametrize("kind", [k for k in KINDS if not issubclass(k, ImageFolderData | PublishedData)])
def test_what_ships_in_packages_is_images_between_0_and_1_with_labels_of_the_classes(
    kind: type[DataSettings], tmp_path: Path
) -> None:
    source = load_source(kind(), tmp_path)
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


def test_settings_without_a_data_set_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="no data set is registered for ImageFolderData"):
        load_source(ImageFolderData(), tmp_path)
