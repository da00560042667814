"""Which splits of a task depend on the run's seed, on `partition.seed`, and on a saved partition."""

import json
from pathlib import Path

import pytest

from fedsq_flwr.assembly.data import load_task
from fedsq_flwr.data import FederatedData
from fedsq_flwr.errors import DataError
from fedsq_flwr.files import plain
from fedsq_flwr.records.results import partition_of
from fedsq_flwr.settings.composition import compose_settings
from tests.data.folders import make

SMALL = ("executor=inprocess", "backbone.weights=random", "backbone.image_size=8", "silos=2", "partition.min_size=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 images of three hospitals, whose test set has to be drawn."""
    where = tmp_path_factory.mktemp("folder")
    names = [f"{'ab'[number % 2]}/{number:02}.png" for number in range(60)]
    make(where, {name: 4 * number for number, name in enumerate(names)})
    lines = [f"{name},{('north', 'south', 'west')[number % 3]}" for number, name in enumerate(names)]
    (where / "groups.csv").write_text("\n".join(["file,group", *lines]))
    return where


def task(folder: Path | None, *overrides: str) -> FederatedData:
    data = () if folder is None else ("data=imagefolder", f"data.path={folder}")
    config = compose_settings([*SMALL, *data, *overrides])
    return load_task(config, config.silos)


def splits(shared: FederatedData) -> list[list[float]]:
    """Every sample's pixel in its part."""
    parts = [*shared.train, *shared.held_out, shared.validation, shared.test]
    return [part.images[:, 0, 0, 0].tolist() for part in parts]


def test_the_partitions_seed_fixes_all_splits_over_the_runs_seeds(folder) -> None:
    first, second = (splits(task(folder, "partition.seed=5", f"seed={seed}")) for seed in (0, 1))
    assert first == second == splits(task(folder, "seed=5")) != splits(task(folder, "seed=0"))


@pytest.mark.parametrize("kind", ["partition=dirichlet", "partition=shards"])
def test_a_saved_partition_keeps_all_splits_whatever_the_seed(folder, tmp_path, kind: str) -> None:
    first = task(folder, kind, "seed=7")
    saved = tmp_path / "partition.json"
    saved.write_text(json.dumps(plain(partition_of(first))))
    again = task(folder, "partition=file", f"partition.file={saved}", "seed=1", "validation_fraction=0.7")
    assert splits(again) == splits(first)
    assert plain(partition_of(again)) == {**plain(partition_of(first)), "file": str(saved)}


def test_a_saved_partition_of_another_test_set_is_refused(folder, tmp_path) -> None:
    saved = tmp_path / "partition.json"
    saved.write_text(json.dumps(plain(partition_of(task(folder)))))
    with pytest.raises(DataError, match=r"^partition\.file=.*: is of another data set: "):
        task(folder, "partition=file", f"partition.file={saved}", "data.test_fraction=0.5")
    with pytest.raises(DataError, match=r"^partition\.file=.*: is of another data set: "):
        task(None, "partition=file", f"partition.file={saved}")


def test_silos_are_the_groups_of_the_folders_file(folder) -> None:
    shared = task(folder, "partition=natural", "silos=3")
    assert shared.partition["groups"] == [["north"], ["south"], ["west"]]
    merged = task(folder, "partition=natural", "silos=2", "partition.merge_groups=true")
    assert merged.partition["groups"] == [["north", "south"], ["west"]]
    with pytest.raises(DataError, match="each of the 3 groups is a silo; set silos=3"):
        task(folder, "partition=natural", "silos=4")


def test_the_file_of_groups_may_have_another_name_and_lie_elsewhere(folder, tmp_path) -> None:
    (tmp_path / "wards.csv").write_text((folder / "groups.csv").read_text())
    named = task(folder, "partition=natural", "silos=3", f"partition.groups={tmp_path}/wards.csv")
    assert named.indices == task(folder, "partition=natural", "silos=3").indices
    with pytest.raises(DataError, match=r"^partition\.groups=.*/none\.csv: there is no such file"):
        task(folder, "partition=natural", "silos=3", "partition.groups=none.csv")


def test_digits_have_no_groups() -> None:
    with pytest.raises(DataError, match=r"^partition=natural: this data set does not say"):
        task(None, "partition=natural")
