"""Some of the classes, and at most so many samples."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsq_flwr.data import DataSource, LabelledImages, select
from fedsq_flwr.data.selection import chosen_places
from fedsq_flwr.errors import DataError


def numbered(labels: list[int]) -> LabelledImages:
    """Each image holds its place."""
    return LabelledImages(torch.arange(len(labels), dtype=torch.float32).view(-1, 1, 1, 1), torch.tensor(labels))


def limited(images: LabelledImages, limit: int) -> LabelledImages:
    return images.subset(chosen_places(images.labels, limit))


def places(images: LabelledImages) -> list[int]:
    return [int(place) for place in images.images[:].flatten().tolist()]


SOURCE = DataSource(numbered([0, 1, 2, 3] * 3), numbered([3, 2, 1, 0]), ("a", "b", "c", "d"), numbered([1, 1, 3]))


def test_classes_are_numbered_in_the_order_asked_for_and_samples_keep_theirs() -> None:
    chosen = select(SOURCE, classes=["d", "b"], limit=None, test_limit=None)
    assert chosen.class_names == ("d", "b")
    assert places(chosen.pool) == [1, 3, 5, 7, 9, 11]
    assert chosen.pool.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert (places(chosen.test), chosen.test.labels.tolist()) == ([0, 2], [0, 1])
    assert chosen.validation is not None
    assert chosen.validation.labels.tolist() == [1, 1, 0]


def test_groups_stay_with_their_samples() -> None:
    source = replace(SOURCE, groups=tuple(f"of {place}" for place in range(12)))
    chosen = select(source, classes=["d", "b"], limit=4, test_limit=None)
    assert chosen.groups == tuple(f"of {place}" for place in places(chosen.pool))


def test_an_unknown_class_is_named_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"^data\.classes=e: is none of the classes a, b, c, d$"):
        select(SOURCE, classes=["a", "e"], limit=None, test_limit=None)


def test_without_settings_nothing_changes() -> None:
    same = select(SOURCE, classes=None, limit=None, test_limit=None)
    assert same.pool.images is SOURCE.pool.images  # not a copy: it may be a mapped file
    assert (same.class_names, same.pool.labels.tolist()) == (SOURCE.class_names, SOURCE.pool.labels.tolist())
    assert (same.test.labels.tolist(), same.validation is None) == (SOURCE.test.labels.tolist(), False)


def test_the_limits_are_of_the_pool_and_of_the_servers_sets() -> None:
    few = select(SOURCE, classes=None, limit=8, test_limit=2)
    assert few.validation is not None
    assert (len(few.pool), len(few.test), len(few.validation)) == (8, 2, 2)
    assert torch.bincount(few.pool.labels).tolist() == [2, 2, 2, 2]
    assert places(few.pool) == sorted(places(few.pool))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70))
def test_classes_stay_in_proportion_and_the_draw_is_always_the_same(labels: list[int], limit: int) -> None:
    whole = numbered(labels)
    few = limited(whole, limit)
    assert len(few) == min(limit, len(labels))
    assert places(few) == places(limited(whole, limit))
    for label in set(labels):
        share = labels.count(label) * len(few) / len(labels)
        assert abs(few.labels.tolist().count(label) - share) < 1
    assert few.labels.tolist() == [labels[place] for place in places(few)]


def test_a_larger_limit_holds_what_a_smaller_one_does_where_classes_are_equal() -> None:
    whole = numbered([0, 1, 2, 3] * 100)
    assert set(places(limited(whole, 40))) < set(places(limited(whole, 80)))
