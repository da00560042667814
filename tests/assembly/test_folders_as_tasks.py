"""`data=imagefolder`: the task of a run from a folder, equal to the bit to the same images in memory."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fedsq_flwr.assembly.data import load_folder, load_task
from fedsq_flwr.data import LabelledImages, distribute
from fedsq_flwr.data.folder_writing import write_folder
from fedsq_flwr.data.sources import load_digits
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.partition import Dirichlet
from fedsq_flwr.settings.run import RunSettings
from tests.assembly.fitted import fit_images

DIGITS = tuple("0123456789")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def settings(folder: Path, *overrides: str) -> RunSettings:
    return compose_settings(["data=imagefolder", f"data.path={folder}", "backbone.weights=random", *overrides])


def same(first: LabelledImages, second: LabelledImages) -> bool:
    return torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, LabelledImages]]:
    source = load_digits()
    parts = {
        "train": source.pool.subset(range(150)),
        "validation": source.pool.subset(range(150, 190)),
        "test": source.test.subset(range(30)),
    }
    folder = tmp_path_factory.mktemp("digits")
    write_folder(folder, parts, DIGITS)
    return folder, parts


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_fitted_one_by_one_equal_all_at_once_to_the_bit(digits, size, channels):
    folder, parts = digits
    config = settings(folder, f"backbone.image_size={size}", f"backbone.in_channels={channels}")
    read = load_folder(config, folder)
    assert read.class_names == DIGITS
    assert all(same(read.parts[part], fit_images(config, parts[part])) for part in parts)
    assert read.parts["train"].images.shape == (150, channels, size, size)
    assert read.parts["train"].images.is_contiguous()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 32, 64])
def test_colours_of_several_sizes_equal_those_of_a_size_fitted_at_once(tmp_path, size, channels):
    generator, sizes = np.random.default_rng(0), [(20, 30), (32, 32), (100, 75), (9, 64)]
    stored = {hw: generator.integers(0, 256, (5, *hw, 3), dtype=np.uint8) for hw in sizes}
    for place, hw in enumerate(sizes * 5):  # each file of another size than the one before
        path = tmp_path / "ab"[place % 2] / f"{place:06}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(stored[hw][place // 4]).save(path)
    config = settings(tmp_path, f"backbone.image_size={size}", f"backbone.in_channels={channels}")
    images = load_folder(config, tmp_path).parts["train"].images
    for first, hw in enumerate(sizes):
        raw = torch.from_numpy(stored[hw].astype(np.float32) / 255).permute(0, 3, 1, 2)
        for layout in (torch.contiguous_format, torch.channels_last):
            whole = LabelledImages(raw.contiguous(memory_format=layout), torch.zeros(5))
            assert torch.equal(images[first::4], fit_images(config, whole).images)


def test_a_folder_is_shared_out_as_the_same_images_in_memory(digits):
    folder, parts = digits
    config = settings(folder, "silos=3", "partition.alpha=5")
    task = load_task(config, 3)
    source = replace(
        load_digits(),
        **{place: fit_images(config, parts[part]) for place, part in (("pool", "train"), ("test", "test"))},
        validation=fit_images(config, parts["validation"]),
    )
    expected = distribute(
        source,
        Dirichlet(alpha=5.0),
        3,
        validation_fraction=0.1,
        held_out_fraction=0.1,
        min_held_out=5,
        seed=0,
    )
    assert task.indices == expected.indices
    assert same(task.validation, expected.validation)
    assert same(task.test, expected.test)
    for given, wanted in ((task.train, expected.train), (task.held_out, expected.held_out)):
        assert all(same(a, b) for a, b in zip(given, wanted, strict=True))


def test_without_folders_for_them_the_seed_draws_the_servers_sets(digits, tmp_path):
    write_folder(tmp_path / "folder", {"train": digits[1]["train"]}, DIGITS)
    tasks = [
        load_task(settings(tmp_path / "folder", "partition=iid", "data.test_fraction=0.3", *more), 2)
        for more in ([], [], ["seed=1"])
    ]
    assert [len(task.test) for task in tasks] == [45] * 3
    assert all(len(task.validation) == 11 for task in tasks)
    assert all(len(task.validation) + sum(map(sum, task.class_counts())) == 105 for task in tasks)
    assert same(tasks[0].test, tasks[1].test)
    assert not same(tasks[0].test, tasks[2].test)


def test_the_agreed_classes_are_those_of_the_task_in_their_order(digits):
    classes = ["none", *reversed(DIGITS)]
    task = load_task(settings(digits[0], f"data.classes={classes}", "partition=iid"), 2)
    assert task.class_names == tuple(classes)
    assert task.test.labels.tolist() == [10 - label for label in digits[1]["test"].labels.tolist()]


def test_files_that_are_left_out_are_counted_for_whoever_waits(digits, tmp_path, caplog):
    write_folder(tmp_path / "folder", {"train": digits[1]["train"]}, DIGITS)
    for path in sorted((tmp_path / "folder/train/3").iterdir())[:2]:
        path.write_text("broken")
    read = load_folder(settings(tmp_path / "folder", "data.unreadable=skip"), tmp_path / "folder")
    assert len(read.parts["train"]) == 148
    told = [record.getMessage() for record in caplog.records if record.name == "fedsq_flwr.assembly.data"]
    assert told == [f"{tmp_path}/folder: left out of train, as unreadable: 2 of 150 files"]


def test_colours_that_become_grey_are_told_and_grey_pictures_of_three_channels_are_not(tmp_path, caplog):
    colour, grey = Image.new("RGB", (16, 16), (200, 30, 30)), Image.new("RGB", (16, 16), (90, 90, 90))
    for name, picture in (("a/1", colour), ("a/2", grey), ("b/3", colour)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / f"{name}.png")
    load_folder(settings(tmp_path, "backbone.in_channels=3"), tmp_path)
    assert "in colour" not in caplog.text
    load_folder(settings(tmp_path), tmp_path)
    assert f"{tmp_path}: 2 of 3 images are in colour, and become grey: backbone.in_channels=1" in caplog.text
