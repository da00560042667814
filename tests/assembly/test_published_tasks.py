"""`data=cifar10` and its like as the task of a run."""

import os
from pathlib import Path

import pytest
import torch

from fedsq_flwr.assembly.data import load_raw_task, load_task
from fedsq_flwr.commands.shares import lay_out_data
from fedsq_flwr.data import read_folder
from fedsq_flwr.errors import DataError
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.data import ImageFolderData
from fedsq_flwr.settings.run import RunSettings
from tests.data.folders import as_they_are
from tests.data.published import NAMES, parquet, pictures

FILES = Path(os.environ.get("FEDSQ_DATA", "/no/such/folder"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 training images and 30 others of three classes, as CIFAR-10's and as CINIC-10's parquet files."""
    for seed, (part, count) in enumerate({"train": 60, "validation": 30, "test": 30}.items()):
        labels = [place % 3 for place in range(count)]
        parquet(tmp_path / "cinic10" / f"{part}.parquet", pictures(count, seed=seed), labels, image="image")
        if part != "validation":
            parquet(tmp_path / "cifar10" / f"{part}.parquet", pictures(count, seed=seed), labels)
    return tmp_path


def settings(folder: Path, name: str, *overrides: str) -> RunSettings:
    own = [f"data={name}", f"data.path={folder}", f"cache_dir={folder}/cache", "backbone.weights=random"]
    shape = ["backbone.in_channels=3", "backbone.image_size=32", "partition=iid", "partition.min_size=1"]
    return compose_settings([*own, *shape, *overrides])


def test_images_are_normalised_as_the_weights_want_them(folder: Path) -> None:
    config = settings(folder, "cifar10")
    task, raw = load_task(config, 2), load_raw_task(config, 2)
    assert raw.test.images.dtype == torch.uint8
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    assert torch.equal(task.test.images[:], (raw.test.images[:].float() / 255 - mean) / std)
    assert task.class_names == NAMES
    assert len(task.validation) == 6  # validation_fraction of the pool


def test_a_validation_set_that_comes_along_is_the_servers(folder: Path) -> None:
    task = load_task(settings(folder, "cinic10"), 2)
    assert len(task.validation) == 30
    assert sum(map(len, [*task.train, *task.held_out])) == 60
    assert task.validation.images[:].min() < 0  # it is normalised, too


def test_classes_and_limits_reach_the_task(folder: Path) -> None:
    chosen = ["data.classes=[bird,airplane]", "data.limit=20", "data.test_limit=5"]
    task = load_task(settings(folder, "cinic10", *chosen), 2)
    assert task.class_names == ("bird", "airplane")
    assert (len(task.validation), len(task.test)) == (5, 5)
    assert sum(map(len, [*task.train, *task.held_out])) == 20
    assert {label for part in task.train for label in part.labels.tolist()} == {0, 1}


def test_digits_and_folders_take_them_too(folder: Path, tmp_path: Path) -> None:
    digits = load_task(compose_settings(["data.classes=['7','3']", "data.limit=100", "data.test_limit=10"]), 2)
    assert digits.class_names == ("7", "3")
    assert (len(digits.test), sum(map(len, [digits.validation, *digits.train, *digits.held_out]))) == (10, 100)


def test_a_rehearsal_lays_them_out_as_folders_of_the_same_images(folder: Path, tmp_path: Path) -> None:
    chosen = ["silos=2", "data.classes=[bird,airplane]", "data.limit=20", "data.test_limit=6", "data.min_held_out=2"]
    config = settings(folder, "cinic10", *chosen)
    folders, run = lay_out_data(config, tmp_path / "workshop")
    own = {"path": f"{tmp_path}/workshop/server/data", "limit": None, "test_limit": None}
    assert run == config.changed(data=ImageFolderData(classes=("bird", "airplane"), min_held_out=2).changed(**own))
    task = load_raw_task(config, 2)
    for silo, place in enumerate(folders):
        written = read_folder(place, classes=run.data.classes, unreadable="fail", fit=as_they_are).parts["train"]
        assert torch.equal((written.images[:] * 255).round().to(torch.uint8), task.train[silo].images[:])
        assert torch.equal(written.labels, task.train[silo].labels)


def test_an_unknown_class_is_one_line(folder: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.classes=fish: is none of the classes airplane, automobile, bird$"):
        load_task(settings(folder, "cifar10", "data.classes=[bird,fish]"), 2)


@pytest.mark.slow  # decodes 60,000 images
@pytest.mark.skipif(not (FILES / "cifar10" / "train.parquet").is_file(), reason="FEDSQ_DATA holds no CIFAR-10")
def test_half_of_cifar10(tmp_path: Path) -> None:
    chosen = ["experiment=cifar10_halves", "backbone.weights=random", f"cache_dir={tmp_path}", "data.test_limit=500"]
    task = load_task(compose_settings(chosen), 10)
    assert task.class_names == ("dog", "frog", "horse", "ship", "truck")
    assert torch.bincount(task.test.labels).tolist() == [100] * 5
    assert sum(map(len, [task.validation, *task.train, *task.held_out])) == 5000
    assert torch.bincount(task.validation.labels).tolist() == [100] * 5
    assert task.test.images[:].shape[1:] == (3, 32, 32)
