"""Published data sets from local files: every layout gives the same images, and what is wrong is said in one line."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fedsq_flwr.data.published_facts import PUBLISHED
from fedsq_flwr.errors import DataError
from tests.data.published import NAMES, as_stored, parquet, pictures, png, read

TRAIN, TEST = pictures(4, seed=1), pictures(2, seed=2)
LABELS, TEST_LABELS = [2, 0, 1, 0], [1, 2]


@pytest.mark.parametrize(
    "files",
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("cifar10/plain_text/train-00000-of-00001.parquet", "cifar10/plain_text/test-00000-of-00001.parquet"),
    ],
)
def test_parquet_files_as_the_hub_has_them(tmp_path: Path, files: tuple[str, str]) -> None:
    parquet(tmp_path / files[0], TRAIN, LABELS)
    parquet(tmp_path / files[1], TEST, TEST_LABELS)
    decoded = read("cifar10", tmp_path)
    assert decoded.class_names == NAMES
    for part, pixels, labels in (("train", TRAIN, LABELS), ("test", TEST, TEST_LABELS)):
        assert decoded.parts[part].images.dtype == torch.uint8
        assert np.array_equal(as_stored(decoded, part), pixels)
        assert decoded.parts[part].labels.tolist() == labels


def test_several_files_of_a_part_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    for shard in (1, 0):
        half = slice(2 * shard, 2 * shard + 2)
        parquet(tmp_path / f"train-0000{shard}-of-00002.parquet", TRAIN[half], LABELS[half])
    parquet(tmp_path / "test.parquet", TEST, TEST_LABELS)
    decoded = read("cifar10", tmp_path)
    assert np.array_equal(as_stored(decoded, "train"), TRAIN)
    assert decoded.parts["train"].labels.tolist() == LABELS


def test_cifar100_has_fine_labels_and_cinic_a_validation_set(tmp_path: Path) -> None:
    for part in ("train", "test"):
        parquet(tmp_path / "a" / f"{part}.parquet", TEST, TEST_LABELS, label="fine_label")
    assert read("cifar100", tmp_path / "a").parts["train"].labels.tolist() == TEST_LABELS
    for part in ("train", "validation", "test"):
        parquet(tmp_path / "b" / f"{part}.parquet", TEST, TEST_LABELS, image="image")
    assert list(read("cinic10", tmp_path / "b").parts) == ["train", "validation", "test"]


def test_tiny_imagenets_validation_images_are_the_test_set(tmp_path: Path) -> None:
    names = ["n01", "n02", "n03"]
    large = pictures(2, size=64)
    for part in ("train", "valid"):
        parquet(tmp_path / f"{part}-1.parquet", large, TEST_LABELS, image="image", names=names)
    decoded = read("tiny_imagenet", tmp_path)
    assert list(decoded.parts) == ["train", "test"]
    assert np.array_equal(as_stored(decoded, "test"), large)


def test_grey_images_get_three_channels(tmp_path: Path) -> None:
    for part in ("train", "test"):
        parquet(tmp_path / f"{part}.parquet", list(TRAIN[:, :, :, 0]), LABELS)
    assert np.array_equal(as_stored(read("cifar10", tmp_path), "train"), np.repeat(TRAIN[..., :1], 3, axis=3))


def binary(folder: Path, name: str) -> Path:
    """Write CIFAR's binary files, some images a file; return the folder."""
    form = PUBLISHED[name].binary
    assert form is not None
    place = folder / form.folder
    place.mkdir(parents=True)
    (place / form.names).write_text("\n".join(NAMES) + "\n\n")
    for part, files in form.files.items():
        pixels, labels = (TRAIN, LABELS) if part == "train" else (TEST, TEST_LABELS)
        for number, file in enumerate(files):
            chosen = range(len(labels)) if len(files) == 1 else [number % len(labels)]
            records = [
                bytes([9] * (form.labels - 1)) + bytes([labels[i]]) + pixels[i].transpose(2, 0, 1).tobytes()
                for i in chosen
            ]
            (place / file).write_bytes(b"".join(records))
    return place


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("form", ["beside", "folder itself", "archive beside", "archive itself"])
def test_cifars_binary_files(tmp_path: Path, name: str, form: str) -> None:
    place = binary(tmp_path, name)
    facts = PUBLISHED[name].binary
    assert facts is not None
    path = {"beside": tmp_path, "folder itself": place, "archive beside": tmp_path}.get(
        form, tmp_path / facts.archive
    )
    if form.startswith("archive"):
        with tarfile.open(tmp_path / facts.archive, "w:gz") as archive:
            archive.add(place, facts.folder)
        shutil.rmtree(place)
    decoded = read(name, path)
    assert decoded.class_names == NAMES
    order = [0, 1, 2, 3, 0] if name == "cifar10" else [0, 1, 2, 3]
    assert np.array_equal(as_stored(decoded, "train"), TRAIN[order])
    assert decoded.parts["train"].labels.tolist() == [LABELS[place] for place in order]
    assert np.array_equal(as_stored(decoded, "test"), TEST)


def test_damaged_binary_files_are_named(tmp_path: Path) -> None:
    place = binary(tmp_path, "cifar10")
    whole = (place / "test_batch.bin").read_bytes()
    for content, told in (
        (whole[:-1], "not a multiple of 3073"),
        (b"\x07" + whole[1:], "the class 7"),
        (b"", "0 bytes"),
    ):
        (place / "test_batch.bin").write_bytes(content)
        with pytest.raises(DataError, match=f"test_batch.bin .*{told}"):
            read("cifar10", tmp_path)
    (place / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"test_batch\.bin is missing"):
        read("cifar10", tmp_path)
    (tmp_path / "cifar-100-binary.tar.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as an archive"):
        read("cifar100", tmp_path)


@pytest.mark.parametrize("pickled", ["cifar-10-batches-py", "cifar-10-python.tar.gz"])
def test_pickled_files_are_refused_and_the_binary_ones_named(tmp_path: Path, pickled: str) -> None:
    (tmp_path / pickled).mkdir()
    for path in (tmp_path, tmp_path / pickled):
        with pytest.raises(DataError, match=rf"{pickled}: is pickled, .* take the binary version, cifar-10-binary"):
            read("cifar10", path)


def folders(root: Path, part: str, size: int = 32) -> np.ndarray:
    """Write two images a class, named so that their order is not that of the classes."""
    pixels = pictures(2 * len(NAMES), size, seed=len(part))
    for place, picture in enumerate(pixels):
        folder = root / part / NAMES[place % len(NAMES)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{place}.png").write_bytes(png(picture))
    return pixels


@pytest.mark.parametrize("validation", ["validation", "valid"])
def test_folders_of_classes(tmp_path: Path, validation: str) -> None:
    pixels = {part: folders(tmp_path, part) for part in ("train", validation, "test")}
    decoded = read("cinic10", tmp_path)
    assert decoded.class_names == NAMES
    assert np.array_equal(as_stored(decoded, "validation"), pixels[validation])
    assert decoded.parts["train"].labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_tiny_imagenet_as_its_archive_is(tmp_path: Path) -> None:
    pixels = folders(tmp_path, "train", size=64)
    (tmp_path / "train" / NAMES[0] / "boxes.txt").touch()
    (tmp_path / "test" / "images").mkdir(parents=True)
    images = tmp_path / "val" / "images"
    images.mkdir(parents=True)
    for place in (0, 1):
        Image.fromarray(pixels[place]).save(images / f"val_{place}.png")
    listed = tmp_path / "val" / "val_annotations.txt"
    listed.write_text("val_1.png\tbird\t0\t0\t62\t62\nval_0.png\tairplane\t0\t0\t62\t62\n")
    decoded = read("tiny_imagenet", tmp_path)
    assert np.array_equal(as_stored(decoded, "test"), pixels[[1, 0]])
    assert decoded.parts["test"].labels.tolist() == [2, 0]
    listed.write_text("val_1.png\tfish\t0\t0\t62\t62\n")
    with pytest.raises(DataError, match="line 1 names the class 'fish', which train has not"):
        read("tiny_imagenet", tmp_path)


def test_what_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read("cifar10", tmp_path)
    told = str(caught.value)
    for looked_for in ("train*.parquet and test*.parquet", "cifar-10-batches-bin", "cifar-10-binary.tar.gz", "hub"):
        assert looked_for in told
    assert "\n" not in told
    parquet(tmp_path / "train.parquet", TRAIN, LABELS)
    with pytest.raises(DataError, match=r"but no test\*\.parquet"):
        read("cifar10", tmp_path)
    folders(tmp_path / "folders", "train")
    with pytest.raises(DataError, match="folder train, but no test"):
        read("cifar10", tmp_path / "folders")
    for other in ("a", "b"):
        parquet(tmp_path / "two" / other / "train.parquet", TRAIN, LABELS)
    with pytest.raises(DataError, match="a and b hold parquet files"):
        read("cifar10", tmp_path / "two")


def test_parquet_files_that_hold_something_else(tmp_path: Path) -> None:
    parquet(tmp_path / "test.parquet", TEST, TEST_LABELS)

    def told(*args: object, **kwargs: object) -> str:
        parquet(tmp_path / "train.parquet", *args, **kwargs)
        with pytest.raises(DataError) as caught:
            read("cifar10", tmp_path)
        return str(caught.value)

    assert "has no column img, but picture, label" in told(TRAIN, LABELS, image="picture")
    assert "does not state that img holds images and label classes" in told(TRAIN, LABELS, names=None)
    assert "state other classes" in told(TRAIN, LABELS, names=[*NAMES, "cat"])
    assert "image 0: has 16 x 16 pixels; all must have 32 x 32" in told(pictures(4, size=16), LABELS)
    assert "is RGBA, not grey or colours of 8 bits" in told([np.zeros((32, 32, 4), np.uint8)], [0])
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"train.parquet: cannot be read as a parquet file"):
        read("cifar10", tmp_path)


def test_folders_with_an_image_of_another_size(tmp_path: Path) -> None:
    folders(tmp_path, "train", size=16)
    folders(tmp_path, "test")
    with pytest.raises(DataError, match="an image of 16 x 16 pixels; all must have 32 x 32"):
        read("cifar10", tmp_path)
