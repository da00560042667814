"""Every sample to exactly one silo, by the seed and the settings only."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedsq_flwr.data.partitions import PARTITIONS, partition_samples
from fedsq_flwr.errors import DataError

FEW = settings(deadline=None, max_examples=12)  # a draw takes about 50 ms
LABELS = torch.arange(600) % 10


def share(
    labels: Tensor = LABELS,
    *,
    name: str = "dirichlet",
    silos: int = 5,
    alpha: float = 0.5,
    min_size: int = 1,
    seed: int = 0,
) -> list[list[int]]:
    return partition_samples(labels, name=name, silos=silos, alpha=alpha, min_size=min_size, seed=seed)


def class_shares(parts: list[list[int]]) -> np.ndarray:
    counts = np.array([np.bincount(LABELS[part], minlength=10) for part in parts])
    return counts / counts.sum(1, keepdims=True)


@given(
    name=st.sampled_from(PARTITIONS),
    silos=st.integers(1, 12),
    alpha=st.floats(0.05, 100.0),
    samples=st.integers(150, 400),
    seed=st.integers(0, 2**40),
)
@FEW
def test_every_sample_goes_to_exactly_one_silo(name: str, silos: int, alpha: float, samples: int, seed: int) -> None:
    labels = torch.randint(5, (samples,), generator=torch.Generator().manual_seed(seed))
    try:
        parts = share(labels, name=name, silos=silos, alpha=alpha, min_size=3, seed=seed)
    except DataError as error:
        assert f"silos={silos}" in str(error)
        return
    assert len(parts) == silos
    assert sorted(itertools.chain(*parts)) == list(range(samples))
    assert min(map(len, parts)) >= 3
    assert all(isinstance(place, int) for place in parts[0])


@pytest.mark.parametrize("name", PARTITIONS)
def test_the_same_seed_gives_the_same_partition_and_another_gives_another(name: str) -> None:
    np.random.seed(1)
    first = share(name=name)
    np.random.seed(2)
    assert share(name=name) == first
    assert share(name=name, seed=1) != first


def test_another_seed_draws_other_shares_and_not_just_other_samples() -> None:
    sizes = [[len(part) for part in share(seed=seed)] for seed in (0, 1)]
    assert sizes[0] != sizes[1]


@pytest.mark.parametrize("name", PARTITIONS)
def test_global_random_states_are_left_as_they_were(name: str) -> None:
    before = np.random.get_state()[1].tolist()
    share(name=name)
    assert np.random.get_state()[1].tolist() == before


def test_iid_silos_are_of_equal_size_and_alike() -> None:
    parts = share(name="iid", silos=7)
    assert {len(part) for part in parts} == {85, 86}
    assert class_shares(parts).max() < 0.3


def test_alpha_has_no_effect_on_iid() -> None:
    assert share(name="iid", alpha=0.01) == share(name="iid", alpha=100.0)


def test_a_small_alpha_skews_the_classes_and_a_large_one_does_not() -> None:
    spread = {alpha: class_shares(share(alpha=alpha)).std(0).mean() for alpha in (0.1, 1.0, 1000.0)}
    assert spread[0.1] > spread[1.0] > spread[1000.0]
    assert spread[1000.0] < 0.02


@pytest.mark.parametrize("name", PARTITIONS)
def test_a_silos_samples_are_in_no_order_of_class(name: str) -> None:
    part = share(name=name, silos=2, alpha=10.0)[0]
    labels = LABELS[part]
    assert labels.tolist() != labels.sort().values.tolist()
    assert len(set(labels[:40].tolist())) > 4


@pytest.mark.parametrize("name", PARTITIONS)
def test_too_many_silos_for_the_samples_is_one_line_that_names_the_settings(name: str) -> None:
    with pytest.raises(DataError) as caught:
        share(name=name, silos=61, min_size=10)
    assert str(caught.value) == "silos=61 with partition.min_size=10 need 610 samples; there are 600"


def test_a_skew_that_no_draw_can_meet_is_one_line_that_names_the_settings() -> None:
    with pytest.raises(DataError) as caught:
        share(silos=20, alpha=0.01, min_size=25)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("partition.alpha=0.01", "silos=20", "partition.min_size=25", "600 samples"):
        assert part in message


@pytest.mark.parametrize("name", PARTITIONS)
def test_one_silo_gets_everything(name: str) -> None:
    assert sorted(share(name=name, silos=1)[0]) == list(range(600))
