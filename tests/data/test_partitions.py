"""Every sample to exactly one silo, by the seed and the settings only; and what each kind promises."""

import itertools

import numpy as np
import pytest
import torch
from datasets import Dataset
from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedsq_flwr.data.partitions import describe, partition_samples
from fedsq_flwr.errors import ConfigurationError, DataError
from fedsq_flwr.settings.fields import tags_of, variants_of
from fedsq_flwr.settings.partition import PartitionSettings, SavedPartition
from fedsq_flwr.settings.run import RunSettings

#: Every kind that samples are distributed by, a new one too: what is said of all kinds here, it is held to.
KINDS = {
    tags_of(kind, "name")[0]: kind
    for kind in variants_of(RunSettings.model_fields["partition"])
    if kind is not SavedPartition
}
#: What a kind depends on beside the seed and the silos.
PARAMETERS = {
    "dirichlet": "alpha", "quantity": "alpha", "pathological": "classes_per_silo", "shards": "shards_per_silo"
}  # fmt: skip
FEW = settings(deadline=None, max_examples=12)  # a draw takes about 50 ms
LABELS = torch.arange(600) % 10


def of(name: str = "dirichlet", min_size: int = 1, **parameters: object) -> PartitionSettings:
    """A kind of partition with those of the parameters that it has."""
    kind = KINDS[name]
    own = {setting: value for setting, value in parameters.items() if setting in kind.model_fields}
    return kind.parse({"min_size": min_size, **own})


def share(labels: Tensor = LABELS, *, silos: int = 10, seed: int = 0, **changes: object) -> list[list[int]]:
    """Distribute; the groups of a natural partition are as many as the silos, and of mixed classes."""
    groups = [f"group {place // 10 % silos}" for place in range(len(labels))]
    return partition_samples(labels, of(**changes), silos, seed=seed, groups=groups)


def complaint(labels: Tensor = LABELS, groups: list[str] | None = None, silos: int = 10, **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        partition_samples(labels, of(**changes), silos, seed=0, groups=groups)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def class_counts(parts: list[list[int]], labels: Tensor = LABELS) -> np.ndarray:
    return np.array([np.bincount(labels[part], minlength=int(labels.max()) + 1) for part in parts])


def class_shares(parts: list[list[int]]) -> np.ndarray:
    counts = class_counts(parts)
    return counts / counts.sum(1, keepdims=True)


@given(
    name=st.sampled_from(sorted(KINDS)),
    silos=st.integers(1, 12),
    alpha=st.floats(0.05, 100.0),
    parameter=st.integers(1, 5),
    samples=st.integers(150, 400),
    seed=st.integers(0, 2**40),
)
@settings(FEW, max_examples=40)
def test_every_sample_goes_to_exactly_one_silo(name, silos, alpha, parameter, samples, seed) -> None:
    labels = torch.randint(5, (samples,), generator=torch.Generator().manual_seed(seed))
    own = {"alpha": alpha, "classes_per_silo": parameter, "shards_per_silo": parameter}
    try:
        parts = share(labels, name=name, silos=silos, min_size=3, seed=seed, **own)
    except DataError as error:
        assert f"silos={silos}" in str(error)
        assert name in PARAMETERS
        return
    assert len(parts) == silos
    assert sorted(itertools.chain(*parts)) == list(range(samples))
    assert min(map(len, parts)) >= 3
    assert all(isinstance(place, int) for place in parts[0])


@pytest.mark.parametrize("name", KINDS)
def test_the_same_seed_gives_the_same_partition_and_another_gives_another(name: str) -> None:
    np.random.seed(1)
    first = share(name=name)
    np.random.seed(2)
    assert share(name=name) == first
    assert share(name=name, seed=1) != first


@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
def test_another_seed_draws_other_shares_and_not_just_other_samples(name: str) -> None:
    sizes = [[len(part) for part in share(name=name, seed=seed)] for seed in (0, 1)]
    assert sizes[0] != sizes[1]


@pytest.mark.parametrize("name", ["pathological", "shards"])
def test_another_seed_gives_the_silos_other_classes(name: str) -> None:
    first, second = (class_counts(share(name=name, silos=10, seed=seed)) > 0 for seed in (0, 1))
    assert (first != second).any()


@pytest.mark.parametrize("name", KINDS)
def test_global_random_states_are_left_as_they_were(name: str, capfd) -> None:
    before = np.random.get_state()[1].tolist()
    share(name=name)
    assert np.random.get_state()[1].tolist() == before
    assert capfd.readouterr() == ("", "")  # no bar across the table of rounds


@pytest.mark.parametrize("name", KINDS)
def test_a_silos_samples_are_in_no_order_of_class(name: str) -> None:
    part = share(name=name, silos=2, alpha=10.0, classes_per_silo=6, shards_per_silo=4)[0]
    labels = LABELS[part]
    assert labels.tolist() != labels.sort().values.tolist()
    assert len(set(labels[:40].tolist())) > 3


@pytest.mark.parametrize("name", KINDS)
def test_too_many_silos_for_the_samples_is_one_line_that_names_the_settings(name: str) -> None:
    told = complaint(name=name, silos=61, min_size=10)
    assert told == "silos=61 with partition.min_size=10 need 610 samples; there are 600"


@pytest.mark.parametrize("name", KINDS)
def test_one_silo_gets_everything(name: str) -> None:
    assert sorted(share(name=name, silos=1, classes_per_silo=10)[0]) == list(range(600))


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 5])
def test_iid_and_dirichlet_are_those_of_flwr_datasets_over_shuffled_samples(seed: int) -> None:
    """They are the partitions of earlier versions: a run can be repeated."""
    order = np.random.default_rng(seed).permutation(600)
    dataset = Dataset.from_dict({"index": order, "label": LABELS.numpy()[order]})
    theirs = {
        "iid": IidPartitioner(4),
        "dirichlet": DirichletPartitioner(4, "label", alpha=0.5, min_partition_size=20, seed=seed % 2**32),
    }
    for name, partitioner in theirs.items():
        partitioner.dataset = dataset
        expected = [list(partitioner.load_partition(silo)["index"]) for silo in range(4)]
        assert share(name=name, silos=4, alpha=0.5, min_size=20, seed=seed) == expected


def test_iid_silos_are_of_equal_size_and_alike() -> None:
    parts = share(name="iid", silos=7)
    assert {len(part) for part in parts} == {85, 86}
    assert class_shares(parts).max() < 0.3


def test_a_kind_takes_no_parameter_of_another() -> None:
    for name, kind in KINDS.items():
        for parameter in {*PARAMETERS.values(), "merge_groups"} - kind.model_fields.keys():
            with pytest.raises(ConfigurationError, match=f"^{parameter}: there is no such setting"):
                kind.parse({"name": name, parameter: 1})


def test_a_small_alpha_skews_the_classes_and_a_large_one_does_not() -> None:
    spread = {alpha: class_shares(share(alpha=alpha)).std(0).mean() for alpha in (0.1, 1.0, 1000.0)}
    assert spread[0.1] > spread[1.0] > spread[1000.0]
    assert spread[1000.0] < 0.02


def test_a_skew_that_no_draw_can_meet_is_one_line_that_names_the_settings() -> None:
    message = complaint(silos=20, alpha=0.01, min_size=25)
    for part in ("partition.alpha=0.01", "silos=20", "partition.min_size=25", "600 samples"):
        assert part in message


@given(silos=st.integers(10, 15), classes=st.integers(1, 10), seed=st.integers(0, 2**40))
@FEW
def test_pathological_silos_have_just_so_many_classes(silos: int, classes: int, seed: int) -> None:
    parts = share(name="pathological", silos=silos, classes_per_silo=classes, seed=seed)
    assert (class_counts(parts) > 0).sum(1).tolist() == [classes] * silos


def test_pathological_draws_that_leave_a_class_to_no_silo_are_drawn_again() -> None:
    counts = class_counts(share(name="pathological", silos=6, classes_per_silo=4))
    assert counts.sum() == 600


def test_classes_that_cannot_all_have_a_silo_are_one_line_that_names_the_settings() -> None:
    told = complaint(name="pathological", silos=4, classes_per_silo=2)
    assert told.startswith("partition.classes_per_silo=2 over silos=4: no draw gave each of the 10 classes a silo")
    assert "raise partition.classes_per_silo" in told
    assert (
        complaint(name="pathological", classes_per_silo=11) == "partition.classes_per_silo=11: there are 10 classes"
    )
    assert "partition.min_size=59" in complaint(name="pathological", silos=10, min_size=59, classes_per_silo=9)


@given(silos=st.integers(1, 15), shards=st.integers(1, 4), samples=st.integers(300, 700), seed=st.integers(0, 2**40))
@FEW
def test_shards_are_of_one_size_and_of_few_classes(silos: int, shards: int, samples: int, seed: int) -> None:
    labels = torch.arange(samples) % 10
    if silos * shards * (silos * shards - 1) >= samples:  # so many shards may leave some silo one short
        return
    parts = share(labels, name="shards", silos=silos, shards_per_silo=shards, seed=seed)
    size = -(-samples // (silos * shards))
    assert sum(len(part) != shards * size for part in parts) <= 1  # the one with the last shard
    per_shard = 1 + -(-size // (samples // 10))  # a shard may begin in one class and end in another
    assert ((class_counts(parts, labels) > 0).sum(1) <= shards * per_shard).all()


def test_two_shards_of_ten_silos_are_two_classes_at_most_where_the_classes_are_equal() -> None:
    counts = class_counts(share(name="shards", silos=10, shards_per_silo=2))
    assert set(counts.flatten().tolist()) <= {0, 30, 60}
    assert set(counts.sum(1).tolist()) == {60}


def test_shards_that_cannot_be_of_one_size_are_one_line_that_names_the_settings() -> None:
    told = complaint(name="shards", silos=20, shards_per_silo=20)
    assert told.startswith("partition.shards_per_silo=20 over silos=20: 600 samples do not make 400 equal shards")


def test_the_last_shard_may_be_too_small_for_a_silo() -> None:
    told = complaint(torch.arange(601) % 10, name="shards", silos=6, shards_per_silo=1, min_size=100)
    assert told.startswith("partition.min_size=100: silo ")
    assert "has 96 samples" in told


@given(alpha=st.floats(0.3, 100.0), silos=st.integers(2, 10), seed=st.integers(0, 2**40))
@settings(FEW, max_examples=6)
def test_quantity_skews_the_sizes_and_not_the_classes(alpha: float, silos: int, seed: int) -> None:
    parts = share(torch.arange(6000) % 10, name="quantity", alpha=alpha, silos=silos, min_size=10, seed=seed)
    largest = max(parts, key=len)
    shares = np.bincount(np.array(largest) % 10, minlength=10) / len(largest)
    assert min(map(len, parts)) >= 10
    assert np.abs(shares - 0.1).max() < 0.1


def test_a_small_alpha_skews_the_sizes_and_a_large_one_does_not() -> None:
    spread = {a: np.std([len(p) for p in share(name="quantity", alpha=a)]) for a in (0.3, 3.0, 10000.0)}
    assert spread[0.3] > spread[3.0] > spread[10000.0]
    assert spread[10000.0] < 3


def test_sizes_that_no_draw_can_meet_are_one_line_that_names_the_settings() -> None:
    told = complaint(name="quantity", alpha=0.001, silos=20, min_size=25)
    for part in ("partition.alpha=0.001", "silos=20", "partition.min_size=25", "600 samples"):
        assert part in told


GROUPS = [f"ward {place % 12:02}" for place in range(600)]


def groups_of(parts: list[list[int]], groups: list[str] = GROUPS) -> list[set[str]]:
    return [{groups[place] for place in part} for part in parts]


def test_natural_silos_are_the_groups_in_the_order_of_their_names() -> None:
    parts = partition_samples(LABELS, of("natural"), 12, seed=3, groups=GROUPS)
    assert groups_of(parts) == [{f"ward {number:02}"} for number in range(12)]


def test_merged_groups_stay_whole_and_neighbours() -> None:
    parts = partition_samples(LABELS, of("natural", merge_groups=True), 5, seed=3, groups=GROUPS)
    held = groups_of(parts)
    assert [len(groups) for groups in held] == [3, 3, 2, 2, 2]
    assert [name for groups in held for name in sorted(groups)] == sorted(set(GROUPS))


@pytest.mark.parametrize(
    ("silos", "merge", "line"),
    [
        (10, False, "of the 12 groups is a silo; set silos=12, or partition.merge_groups=true"),
        (13, False, "of the 12 groups is a silo; set silos=12"),
        (13, True, "of the 12 groups is a silo; set silos=12"),
    ],
)
def test_another_number_of_silos_than_groups_is_one_line_that_names_the_settings(silos, merge, line) -> None:
    told = complaint(groups=GROUPS, name="natural", silos=silos, merge_groups=merge)
    assert told == f"silos={silos}: with partition=natural each {line}"


def test_data_without_groups_and_groups_that_are_too_small_are_one_line() -> None:
    assert complaint(name="natural") == "partition=natural: this data set does not say which group a sample is of"
    rare = ["a" if place < 8 else "b" for place in range(600)]
    told = complaint(groups=rare, name="natural", silos=2, min_size=10)
    assert told == "partition.min_size=10: silo 0 has 8 samples; lower it"


@pytest.mark.parametrize("name", KINDS)
def test_a_partition_tells_its_kind_its_own_parameter_and_the_seed(name: str) -> None:
    told = describe(of(name), 4)
    own = {"alpha"} | ({PARAMETERS[name]} if name in PARAMETERS else set())
    assert set(told) == {"name", "seed"} | own
    assert (told["name"], told["seed"]) == (name, 4)
    assert (told["alpha"] is None) == (name not in ("dirichlet", "quantity"))
