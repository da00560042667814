"""A saved partition gives the same silos again, and is refused wherever it does not fit."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsq_flwr.data import DataSource, FederatedData, LabelledImages, distribute, read_partition, reuse_partition
from fedsq_flwr.errors import DataError
from fedsq_flwr.files import plain
from fedsq_flwr.records.results import partition_of
from fedsq_flwr.settings.partition import Dirichlet


def numbered(count: int, start: int = 0) -> LabelledImages:
    """Images whose one pixel is their own number, so that they can be followed."""
    numbers = torch.arange(start, start + count)
    return LabelledImages(numbers.float().view(-1, 1, 1, 1), numbers % 4)


SOURCE = DataSource(numbered(300), numbered(40, start=1000), ("a", "b", "c", "d"))


@cache
def share(source: DataSource = SOURCE) -> FederatedData:
    wanted = Dirichlet(min_size=8)
    return distribute(source, wanted, 4, validation_fraction=0.1, held_out_fraction=0.2, min_held_out=5, seed=3)


def reuse(path: Path, source: DataSource = SOURCE, silos: int = 4, min_size: int = 8) -> FederatedData:
    return reuse_partition(source, read_partition(path), silos=silos, min_size=min_size)


def numbers(parts: LabelledImages | list[LabelledImages]) -> list[Any]:
    return [numbers(part) for part in parts] if isinstance(parts, list) else parts.images.flatten().int().tolist()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Write the partition of `SOURCE`, with fields changed or, if None, left out; return the file."""

    def write(source: DataSource = SOURCE, **changes: Any) -> Path:
        content = {**plain(partition_of(share(source))), **changes}
        path = tmp_path / "partition.json"
        path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
        return path

    return write


def complaint(path: Path, source: DataSource = SOURCE, **changes: int) -> str:
    with pytest.raises(DataError) as caught:
        reuse(path, source, **changes)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize("own_validation", [False, True])
def test_silos_parts_and_validation_are_the_same(saved, own_validation: bool) -> None:
    source = replace(SOURCE, validation=numbered(20, start=2000)) if own_validation else SOURCE
    first, again = share(source), reuse(saved(source), source)
    assert again.indices == first.indices
    for part in ("train", "held_out", "validation", "test"):
        assert numbers(getattr(again, part)) == numbers(getattr(first, part))
    assert again.class_counts() == first.class_counts()


def test_it_tells_how_it_was_drawn_and_where_it_is_from(saved) -> None:
    path = saved()
    expected = {**share().partition, "file": str(path)}
    assert reuse(path).partition == expected
    assert (expected["name"], expected["alpha"], expected["seed"]) == ("dirichlet", 0.5, 3)


def test_a_partition_that_was_reused_can_be_reused(saved, tmp_path: Path) -> None:
    second = tmp_path / "second.json"
    second.write_text(json.dumps(plain(partition_of(reuse(saved())))))
    assert reuse(second).indices == share().indices
    assert reuse(second).partition["file"] == str(second)


def test_a_runs_directory_will_do(saved) -> None:
    assert reuse(saved().parent).indices == share().indices


def test_a_file_of_an_earlier_version_has_no_digest_and_is_held_to_its_counts(saved) -> None:
    old = saved(labels_sha256=None, name="iid", alpha=0.5)
    assert reuse(old).indices == share().indices
    assert reuse(old).partition["alpha"] is None  # which they wrote for any kind
    shifted = replace(SOURCE, pool=replace(SOURCE.pool, labels=SOURCE.pool.labels.roll(1)))
    assert complaint(old, shifted) == "partition.file=FILE: is of another data set: the classes of its samples differ"


def test_a_file_that_is_not_there_or_no_partition_is_one_line(saved, tmp_path: Path) -> None:
    assert complaint(tmp_path / "no.json") == "partition.file=FILE: there is no such file"
    assert complaint(tmp_path) == "partition.file=FILE: there is no such file"
    (tmp_path / "broken.json").write_text('{"name": ')
    assert complaint(tmp_path / "broken.json").startswith("partition.file=FILE: not JSON: ")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    assert complaint(tmp_path / "bytes.json").startswith("partition.file=FILE: not JSON: ")
    (tmp_path / "list.json").write_text("[1]")
    told = "partition.file=FILE: should be an object with named fields, found a list of 1"
    assert complaint(tmp_path / "list.json") == told


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("name", "seed", "validation", "counts", "held_out", "class_names")),
        {"name": 3},
        {"seed": -1},
        {"seed": True},
        {"validation": "30"},
        {"labels_sha256": 5},
        {"indices": 7},
        {"indices": [[0.5], [1], [2], [3]]},
        {"indices": [["0"], [1], [2], [3]]},
        {"held_out": [0, 0, 0]},
        {"held_out": [0, 0, 0, 300]},
        {"counts": [1, 2, 3, 4]},
    ],
    ids=str,
)
def test_a_damaged_file_is_one_line(saved, changes: dict[str, Any]) -> None:
    told = complaint(saved(**changes))
    assert told.startswith("partition.file=FILE")
    assert any(f"'{name}'" in told for name in (*changes, "counts", "held_out"))


def test_a_partition_of_real_silos_names_no_samples(saved) -> None:
    assert "real silos keep that to themselves" in complaint(saved(name="silos", indices=None))


def test_another_number_of_silos_or_silos_that_are_too_small_name_the_settings(saved) -> None:
    assert complaint(saved(), silos=5) == "silos=5: partition.file=FILE is of 4 silos"
    with pytest.raises(DataError, match=r"^partition\.min_size=200: silo 0 has \d+ samples; lower it$"):
        reuse(saved(), min_size=200)


def test_samples_that_are_not_there_or_twice_are_one_line(saved) -> None:
    indices = share().indices
    beyond = [[300, *indices[0][1:]], *indices[1:]]
    assert complaint(saved(indices=beyond)) == "partition.file=FILE: names sample 300; there are 300, from 0"
    huge = [[10**30, *indices[0][1:]], *indices[1:]]
    assert "names sample 1000000000000000000000000000000;" in complaint(saved(indices=huge))
    twice = [[indices[1][0], *indices[0][1:]], *indices[1:]]
    assert complaint(saved(indices=twice)) == f"partition.file=FILE: has sample {indices[1][0]} more than once"


def test_another_data_set_is_one_line(saved) -> None:
    path = saved()
    renamed = replace(SOURCE, class_names=("a", "b", "c", "e"))
    assert complaint(path, renamed).endswith("is of another data set: the names of the classes differ")
    fewer = replace(SOURCE, pool=numbered(299))
    assert complaint(path, fewer).endswith(
        "another data set: its 270 samples and 30 for validation are not those of a pool of 299"
    )
    own = replace(SOURCE, pool=numbered(270), validation=numbered(31))
    assert "is of another data set" in complaint(path, own)
    labels = SOURCE.pool.labels.clone()
    labels[[0, 1]] = labels[[1, 0]]
    swapped = replace(SOURCE, pool=replace(SOURCE.pool, labels=labels))
    assert complaint(path, swapped).endswith("or of its samples in another order: the labels differ")


@pytest.mark.parametrize("kind", ["dirichlet", "by hand"])
def test_a_partition_of_another_program_need_not_say_how_it_was_drawn(saved, kind: str) -> None:
    told = reuse(saved(name=kind, alpha=None)).partition
    assert (told["name"], told["alpha"]) == (kind, None)
