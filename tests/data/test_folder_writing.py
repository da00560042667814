"""Images written as a folder come back to the bit, in their order, with their labels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedsq_flwr.data import LabelledImages, read_folder
from fedsq_flwr.data.folder_writing import write_folder
from fedsq_flwr.data.sources import load_digits
from fedsq_flwr.errors import DataError
from tests.data.folders import as_they_are

DIGITS = tuple("0123456789")


def images(pixels: np.ndarray, classes: int = 3) -> LabelledImages:
    return LabelledImages(torch.from_numpy(pixels), torch.arange(len(pixels)) % classes)


def back(folder: Path, classes: tuple[str, ...]) -> dict[str, LabelledImages]:
    return dict(read_folder(folder, classes=classes, unreadable="fail", fit=as_they_are).parts)


def same(first: LabelledImages, second: LabelledImages) -> bool:
    return torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)


def suffixes(folder: Path) -> set[str]:
    return {path.suffix for path in folder.rglob("*") if path.is_file()}


def test_the_uci_digits_come_back_to_the_bit(tmp_path):
    source = load_digits()
    parts = {"train": source.pool.subset(range(60)), "test": source.test.subset(range(20))}
    write_folder(tmp_path / "folder", parts, DIGITS)
    read = back(tmp_path / "folder", DIGITS)
    assert suffixes(tmp_path) == {".tif"}  # sixteenths fit no integers
    assert list(read) == ["train", "test"]
    assert all(same(read[part], parts[part]) for part in parts)


@pytest.mark.parametrize(("channels", "white", "suffix"), [(1, 255, ".png"), (3, 255, ".png"), (1, 65535, ".png")])
def test_images_of_integers_are_png_and_come_back_to_the_bit(tmp_path, channels, white, suffix):
    stored = np.random.default_rng(0).integers(0, white + 1, (7, channels, 5, 6))
    whole = images(stored.astype(np.float32) / np.float32(white))
    write_folder(tmp_path, {"train": whole}, ("b", "c", "a"))
    assert suffixes(tmp_path) == {suffix}
    assert (tmp_path / "train/c/000004.png").is_file()
    assert same(back(tmp_path, ("b", "c", "a"))["train"], whole)


def test_bytes_are_written_as_they_are_and_come_back_as_pixels(tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
    write_folder(tmp_path, {"train": images(stored)}, ("a", "b", "c"))
    assert suffixes(tmp_path) == {".png"}
    read = back(tmp_path, ("a", "b", "c"))["train"]
    assert same(read, images(stored.astype(np.float32) / np.float32(255)))


@given(pixels=hnp.arrays(np.float32, (4, 1, 2, 3), elements=st.floats(0, 1, width=32)))
@settings(deadline=None, max_examples=40)
def test_any_grey_images_come_back_to_the_bit(tmp_path_factory, pixels):
    folder = tmp_path_factory.mktemp("folder")
    write_folder(folder, {"train": images(pixels)}, ("a", "b", "c"))
    assert same(back(folder, ("a", "b", "c"))["train"], images(pixels))


def test_one_image_that_needs_it_decides_on_the_format_of_all(tmp_path):
    pixels = np.zeros((4, 1, 2, 2), np.float32)
    sixteen = pixels.copy()
    sixteen[2, 0, 0, 0] = np.float32(1) / np.float32(65535)
    write_folder(tmp_path / "a", {"train": images(pixels), "test": images(sixteen)}, ("a", "b", "c"))
    assert {Path(path).read_bytes()[24] for path in (tmp_path / "a").rglob("*.png")} == {16}  # bits, of PNG's header
    floats = pixels.copy()
    floats[3] = 0.3
    write_folder(tmp_path / "b", {"train": images(pixels), "test": images(floats)}, ("a", "b", "c"))
    assert suffixes(tmp_path / "b") == {".tif"}


def test_every_class_has_a_folder_so_that_all_names_are_found_again(tmp_path):
    write_folder(tmp_path, {"train": images(np.zeros((2, 1, 2, 2), np.float32))}, ("a", "b", "c"))
    read = read_folder(tmp_path, classes=None, unreadable="fail", fit=as_they_are)
    assert read.class_names == ("a", "b", "c")


def test_a_part_without_images_is_not_written(tmp_path):
    some = images(np.zeros((2, 1, 2, 2), np.float32))
    write_folder(tmp_path, {"train": some, "validation": some.subset([])}, ("a", "b"))
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\0b", "__MACOSX"])
def test_a_class_whose_name_no_folder_can_have_is_named(tmp_path, name):
    with pytest.raises(DataError) as caught:
        write_folder(tmp_path / "x", {"train": images(np.zeros((2, 1, 2, 2), np.float32))}, ("a", name))
    assert str(caught.value).startswith(f"class {name!r}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_a_class_whose_name_is_not_read_again_is_not_written(tmp_path):
    with pytest.raises(DataError, match=r"^classes: the name .* rename it$"):
        write_folder(tmp_path / "x", {"train": images(np.zeros((2, 1, 2, 2), np.float32))}, ("a", "b\nc"))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("names", [("a", "a"), ("a", "b" * 300)])
def test_names_that_the_file_system_refuses_are_one_line(tmp_path, names):
    with pytest.raises(DataError, match=rf"^{tmp_path}/train/{names[1]}: cannot be written: ") as caught:
        write_folder(tmp_path, {"train": images(np.zeros((2, 1, 2, 2), np.float32), classes=2)}, names)
    assert "\n" not in str(caught.value)


def test_colours_that_would_lose_something_are_refused(tmp_path):
    with pytest.raises(DataError, match="colours that are no multiples of 1/255"):
        write_folder(tmp_path / "x", {"train": images(np.full((2, 3, 2, 2), 0.3, np.float32))}, ("a", "b", "c"))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf])
def test_what_is_no_image_between_0_and_1_is_refused(tmp_path, value):
    with pytest.raises(DataError, match="between 0 and 1"):
        write_folder(tmp_path / "x", {"train": images(np.full((2, 1, 2, 2), value, np.float32))}, ("a", "b", "c"))


def test_two_channels_are_refused(tmp_path):
    with pytest.raises(DataError, match="1 or 3 channels"):
        write_folder(tmp_path / "x", {"train": images(np.zeros((2, 2, 2, 2), np.float32))}, ("a", "b", "c"))


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / ".something").touch()
    some = {"train": images(np.zeros((2, 1, 2, 2), np.float32))}
    with pytest.raises(DataError, match=f"^{tmp_path}: is not empty$"):
        write_folder(tmp_path, some, ("a", "b", "c"))
    assert [path.name for path in tmp_path.iterdir()] == [".something"]
    with pytest.raises(DataError, match=f"^{tmp_path}/.something: cannot be written: File exists$"):
        write_folder(tmp_path / ".something", some, ("a", "b", "c"))


def test_a_part_of_another_name_is_the_callers_mistake(tmp_path):
    with pytest.raises(ValueError, match="parts val: allowed are train, validation, test"):
        write_folder(tmp_path, {"val": images(np.zeros((2, 1, 2, 2), np.float32))}, ("a", "b", "c"))
