"""The task split for a federation: disjoint, complete, repeatable."""

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedsq_flwr.data import DataSource, FederatedData, LabelledImages, distribute
from fedsq_flwr.data.federated import held_out_size
from fedsq_flwr.errors import DataError
from fedsq_flwr.settings.partition import Dirichlet, Iid, PartitionSettings


def numbered(count: int, start: int = 0) -> LabelledImages:
    """Images whose one pixel is their own number, so that they can be followed."""
    numbers = torch.arange(start, start + count)
    return LabelledImages(numbers.float().view(-1, 1, 1, 1), numbers % 4)


SOURCE = DataSource(pool=numbered(300), test=numbered(40, start=1000), class_names=("a", "b", "c", "d"))


def shared(
    silos: int = 4,
    kind: type[PartitionSettings] = Dirichlet,
    *,
    validation_fraction: float = 0.1,
    held_out_fraction: float = 0.2,
    seed: int = 0,
    **changes: Any,
) -> FederatedData:
    return distribute(
        SOURCE,
        kind(**{"min_size": 8, **changes}),
        silos,
        validation_fraction=validation_fraction,
        held_out_fraction=held_out_fraction,
        min_held_out=5,
        seed=seed,
    )


def numbers(images: LabelledImages) -> list[int]:
    return images.images.flatten().int().tolist()


@given(
    kind=st.sampled_from([Iid, Dirichlet]),
    silos=st.integers(1, 6),
    validation=st.sampled_from([0.05, 0.1, 0.5]),
    held_out=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**40),
)
@settings(deadline=None, max_examples=10)
def test_the_splits_are_disjoint_and_complete(
    kind: type[PartitionSettings], silos: int, validation: float, held_out: float, seed: int
) -> None:
    data = shared(silos, kind, validation_fraction=validation, held_out_fraction=held_out, seed=seed)
    parts = [data.validation, *data.train, *data.held_out]
    assert sorted(itertools.chain(*map(numbers, parts))) == list(range(300))
    assert numbers(data.test) == list(range(1000, 1040))
    assert all(len(part) >= 1 for part in data.train)
    assert len(data.train) == len(data.held_out) == len(data.indices) == silos


def test_labels_stay_with_their_images() -> None:
    data = shared()
    for part in [data.validation, data.test, *data.train, *data.held_out]:
        assert part.labels.tolist() == [number % 4 for number in numbers(part)]


def test_indices_are_the_places_in_the_pool_training_first() -> None:
    data = shared()
    for indices, train, held_out in zip(data.indices, data.train, data.held_out, strict=True):
        assert indices == [*numbers(train), *numbers(held_out)]


def test_validation_has_the_classes_in_proportion_and_in_the_pools_order() -> None:
    validation = shared(validation_fraction=0.2).validation
    assert Counter(validation.labels.tolist()) == {0: 15, 1: 15, 2: 15, 3: 15}
    assert numbers(validation) == sorted(numbers(validation))


def test_the_same_seed_gives_the_same_splits_and_another_seed_gives_others() -> None:
    first, again, other = shared(), shared(), shared(seed=1)
    assert first.indices == again.indices
    assert numbers(first.validation) == numbers(again.validation)
    assert first.indices != other.indices
    assert numbers(first.validation) != numbers(other.validation)


def test_validation_and_test_do_not_depend_on_how_the_silos_share() -> None:
    assert numbers(shared(silos=2).validation) == numbers(shared(kind=Iid, min_size=3).validation)


def test_class_counts_are_of_training_and_held_out_together() -> None:
    data = shared()
    for counts, indices in zip(data.class_counts(), data.indices, strict=True):
        assert counts == [sum(index % 4 == label for index in indices) for label in range(4)]


def test_class_counts_have_a_place_for_a_class_that_a_silo_lacks() -> None:
    counts = shared(alpha=0.05, min_size=1).class_counts()
    assert all(len(silo) == 4 for silo in counts)
    assert any(0 in silo for silo in counts)


def test_held_out_samples_are_a_random_part_of_the_silos() -> None:
    data = shared(silos=1, held_out_fraction=0.3)
    assert len(set(data.held_out[0].labels.tolist())) == 4
    assert numbers(data.held_out[0]) != sorted(numbers(data.held_out[0]))


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_validation_set_that_cannot_be_had_is_one_line_that_names_the_setting(fraction: float) -> None:
    with pytest.raises(DataError, match=f"validation_fraction={fraction} of 300 samples") as caught:
        shared(validation_fraction=fraction)
    assert "\n" not in str(caught.value)


def test_too_many_silos_name_the_settings() -> None:
    with pytest.raises(DataError, match=r"silos=50 with partition\.min_size=8 need 400 samples; there are 270"):
        shared(silos=50)


@pytest.mark.parametrize(
    ("samples", "fraction", "minimum", "expected"),
    [
        (100, 0.1, 5, 10),
        (101, 0.1, 5, 11),  # rounded up
        (30, 0.1, 5, 5),  # the minimum
        (10, 0.1, 5, 5),  # just twice the minimum
        (9, 0.1, 5, 0),  # fewer: the silo needs its samples to learn
        (9, 0.9, 5, 0),
        (100, 0.0, 5, 0),
        (1, 0.5, 1, 0),
        (2, 0.5, 1, 1),
    ],
)
def test_how_many_a_silo_holds_out(samples: int, fraction: float, minimum: int, expected: int) -> None:
    assert held_out_size(samples, fraction, minimum) == expected


@example(samples=10, fraction=0.95, minimum=5)
@given(samples=st.integers(1, 2000), fraction=st.floats(0.0, 1.0, exclude_max=True), minimum=st.integers(1, 20))
def test_a_silo_always_keeps_something_to_learn_from(samples: int, fraction: float, minimum: int) -> None:
    held_out = held_out_size(samples, fraction, minimum)
    assert held_out == 0 or held_out >= minimum
    assert samples - held_out >= 1
