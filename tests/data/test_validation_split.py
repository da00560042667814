"""Where no validation set can have every class in proportion, a line names the class or setting, and a way out."""

from pathlib import Path

import pytest
import torch

from fedsq_flwr.data import ImageFolder, folder_source
from fedsq_flwr.data.federated import _validation
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.sources import DataSource
from fedsq_flwr.errors import DataError

NAMES = ("cat", "dog", "eel")


def source(labels: list[int]) -> DataSource:
    pool = LabelledImages(torch.zeros(len(labels), 1, 1, 1), torch.tensor(labels, dtype=torch.int64))
    return DataSource(pool, LabelledImages.none(), NAMES)


def complaint(labels: list[int], fraction: float) -> str:
    with pytest.raises(DataError) as caught:
        _validation(source(labels), fraction, 0)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"validation_fraction={fraction} of {len(labels)} samples: ")
    return str(caught.value)


def test_a_class_of_one_sample_is_named_with_the_way_out() -> None:
    told = complaint([0] * 20 + [1] * 20 + [2], 0.1)
    assert "the class eel has one sample" in told
    assert "data.classes" in told
    assert "folder validation" in told


def test_several_are_counted() -> None:
    assert "2 classes, the first dog, have one sample" in complaint([0] * 20 + [1, 2], 0.1)


@pytest.mark.parametrize(
    ("fraction", "told"), [(0.05, "raise validation_fraction"), (0.9, "lower validation_fraction")]
)
def test_a_fraction_that_leaves_too_few_for_the_classes_is_named(fraction: float, told: str) -> None:
    assert told in complaint([0, 1, 2] * 6, fraction)


def test_nothing_to_split_is_one_line() -> None:
    complaint([], 0.1)


def test_a_class_that_the_pool_lacks_does_not_matter() -> None:
    rest, validation = _validation(source([0, 1] * 10), 0.2, 0)
    assert (len(rest), torch.bincount(validation.labels).tolist()) == (16, [2, 2])


def test_a_class_whose_only_images_are_drawn_for_the_test_set_is_told(caplog: pytest.LogCaptureFixture) -> None:
    pool = source([0] * 9 + [1]).pool
    folder = ImageFolder(Path("folder"), {"train": pool}, NAMES, {})
    told = set()
    for seed in range(20):
        caplog.clear()
        drawn = folder_source(folder, test_fraction=0.2, seed=seed)
        told.add(1 in drawn.test.labels)
        assert (1 in drawn.test.labels) == ("the only images of the class dog are in the test set" in caplog.text)
    assert told == {True, False}
