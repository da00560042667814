"""What stands in for a part that a folder lacks: drawn by the seed, in the folder's order."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsq_flwr.data import ImageFolder, LabelledImages, distribute, folder_source, silo_parts
from fedsq_flwr.data.federated import held_out_size
from fedsq_flwr.errors import DataError
from fedsq_flwr.settings.partition import Iid


def numbered(labels: list[int], start: int = 0) -> LabelledImages:
    numbers = torch.arange(start, start + len(labels), dtype=torch.float32)
    return LabelledImages(numbers.view(-1, 1, 1, 1), torch.tensor(labels))


def folder(**parts: LabelledImages) -> ImageFolder:
    return ImageFolder(Path("folder"), parts, ("a", "b", "c"), {})


def numbers(images: LabelledImages) -> list[int]:
    return images.images.flatten().int().tolist()


TRAIN = numbered([0, 1, 2, 0, 1] * 12)
OTHER = numbered([0, 1], start=1000)
SHARED = (Iid(min_size=1), 3)
HOLDING = {"held_out_fraction": 0.1, "min_held_out": 2}


def test_the_parts_that_are_there_are_the_servers_sets():
    source = folder_source(folder(train=TRAIN, validation=OTHER, test=numbered([2], 2000)), test_fraction=0.5, seed=0)
    assert numbers(source.pool) == list(range(60))
    assert numbers(source.test) == [2000]
    shared = distribute(source, *SHARED, **HOLDING, validation_fraction=0.2, seed=0)
    assert numbers(shared.validation) == [1000, 1001]
    assert sorted(place for silo in shared.indices for place in silo) == list(range(60))


def test_a_validation_set_of_the_folders_own_leaves_validation_fraction_without_effect():
    source = folder_source(folder(train=TRAIN, validation=OTHER, test=OTHER), test_fraction=0.5, seed=0)
    few, many = (distribute(source, *SHARED, **HOLDING, validation_fraction=f, seed=0) for f in (0.1, 0.9))
    assert few.indices == many.indices


def test_without_a_test_folder_the_seed_draws_the_test_set_classes_in_proportion_and_in_order():
    source = folder_source(folder(train=TRAIN), test_fraction=0.25, seed=3)
    assert sorted([*numbers(source.pool), *numbers(source.test)]) == list(range(60))
    assert numbers(source.test) == sorted(numbers(source.test))
    assert numbers(source.pool) == sorted(numbers(source.pool))
    assert torch.bincount(source.test.labels).tolist() == [6, 6, 3]
    assert source.validation is None
    again, other = (folder_source(folder(train=TRAIN), test_fraction=0.25, seed=seed) for seed in (3, 4))
    assert numbers(again.test) == numbers(source.test) != numbers(other.test)


@pytest.mark.parametrize(
    ("labels", "fraction"),
    [([0] * 9 + [1], 0.2), ([0, 1, 2] * 4, 0.1), ([0, 1, 2] * 4, 0.9), ([0, 0], 0.5)],
)
def test_classes_that_cannot_be_in_proportion_do_not_prevent_a_test_set(labels, fraction):
    source = folder_source(folder(train=numbered(labels)), test_fraction=fraction, seed=0)
    assert sorted([*numbers(source.pool), *numbers(source.test)]) == list(range(len(labels)))


@given(
    labels=st.lists(st.integers(0, 2), min_size=2, max_size=30),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**63 - 1),
)
@settings(deadline=None, max_examples=60)
def test_every_sample_is_in_the_pool_or_in_the_test_set(labels, fraction, seed):
    try:
        source = folder_source(folder(train=numbered(labels)), test_fraction=fraction, seed=seed)
    except DataError as error:
        assert str(error).startswith(f"data.test_fraction={fraction} of {len(labels)} samples: ")
        assert fraction * len(labels) > len(labels) - 1
        return
    assert sorted([*numbers(source.pool), *numbers(source.test)]) == list(range(len(labels)))
    assert min(len(source.pool), len(source.test)) >= 1


def test_what_is_to_be_shared_out_must_be_there():
    with pytest.raises(DataError, match=r"^folder: holds no folder train$"):
        folder_source(folder(test=OTHER), test_fraction=0.1, seed=0)
    with pytest.raises(DataError, match=r"^folder: holds no folder train$"):
        silo_parts(folder(validation=OTHER), **HOLDING, seed=0)


def test_a_silos_validation_folder_is_its_held_out_part():
    train, held_out = silo_parts(folder(train=TRAIN, validation=OTHER), **HOLDING, seed=0)
    assert numbers(train) == list(range(60))
    assert numbers(held_out) == [1000, 1001]


@given(
    samples=st.integers(1, 60), fraction=st.floats(0, 0.99), minimum=st.integers(1, 9), seed=st.integers(0, 2**63 - 1)
)
@settings(deadline=None, max_examples=60)
def test_a_silo_without_one_holds_out_as_many_as_in_a_simulation_in_the_folders_order(
    samples, fraction, minimum, seed
):
    there = folder(train=TRAIN.subset(range(samples)))
    train, held_out = silo_parts(there, held_out_fraction=fraction, min_held_out=minimum, seed=seed)
    assert len(held_out) == held_out_size(samples, fraction, minimum)
    assert sorted([*numbers(train), *numbers(held_out)]) == list(range(samples))
    for part in (train, held_out):
        assert numbers(part) == sorted(numbers(part))
        assert part.labels.tolist() == [TRAIN.labels[number] for number in numbers(part)]
    assert part.images.shape[1:] == (1, 1, 1)


def test_what_a_silo_holds_out_depends_on_its_seed_and_is_no_end_of_the_folder():
    first, again, other = (numbers(silo_parts(folder(train=TRAIN), **HOLDING, seed=seed)[1]) for seed in (1, 1, 2))
    assert first == again != other
    assert first not in (list(range(6)), list(range(54, 60)))
