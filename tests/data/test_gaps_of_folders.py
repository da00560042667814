"""What of a folder gives no image is told: files by their suffix, and classes without an image."""

from pathlib import Path

import pytest
from PIL import Image

from fedsq_flwr.data import ImageFolder, read_folder
from fedsq_flwr.data.folder_layout import find_classes, find_parts
from fedsq_flwr.data.image_paths import SUFFIXES, find_images
from fedsq_flwr.errors import DataError
from tests.data.folders import as_they_are, make


def read(folder: Path, **changes: object) -> ImageFolder:
    return read_folder(folder, **{"classes": None, "unreadable": "fail", "fit": as_they_are, **changes})


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_whole_folder_has_nothing_to_tell(tmp_path: Path) -> None:
    make(tmp_path, {"train/a/1.png": 1, "train/b/2.png": 2, "test/a/3.png": 3})
    assert read(tmp_path).gaps == {"train": (), "test": ()}


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".jif", ".pjpeg", ".jpg", ".mpo"])
def test_jpeg_under_any_of_its_suffixes_is_an_image(tmp_path: Path, suffix: str) -> None:
    make(tmp_path, {"a/1.png": 1, "b/2.png": 2})
    (tmp_path / "c").mkdir()
    Image.new("L", (2, 2), 9).save(tmp_path / f"c/3{suffix}", format="JPEG")
    read_ = read(tmp_path)
    assert read_.parts["train"].labels.tolist() == [0, 1, 2]
    assert read_.gaps == {"train": ()}


def test_files_of_other_suffixes_are_counted_by_suffix_and_the_first_named(tmp_path: Path) -> None:
    make(tmp_path, {"a/1.png": 1, "b/2.png": 2})
    touch(tmp_path, *(f"a/deep/{place}.DCM" for place in range(20)), "b/notes.txt", "b/IM0001")
    assert read(tmp_path).gaps["train"] == (
        "22 files left out because of the suffix: 20 .dcm (a/deep/0.DCM, a/deep/1.DCM, a/deep/10.DCM, ...), "
        "1 .txt (b/notes.txt), 1 without a suffix (b/IM0001)",
    )


def test_many_suffixes_are_not_all_listed(tmp_path: Path) -> None:
    make(tmp_path, {"a/1.png": 1, "b/2.png": 2})
    touch(tmp_path, *(f"a/x.{place}" for place in range(10, 30)))
    (told,) = read(tmp_path).gaps["train"]
    assert told.startswith("20 files left out")
    assert told.endswith("1 .14 (a/x.14), 15 with other suffixes")


def test_a_class_of_none_but_other_files_is_told_beside_them(tmp_path: Path) -> None:
    make(tmp_path, {"a/1.png": 1, "b/2.png": 2})
    touch(tmp_path, "c/1.dcm", "c/2.dcm")
    read_ = read(tmp_path)
    assert read_.class_names == ("a", "b", "c")
    assert read_.gaps["train"] == (
        "no image of the class c",
        "2 files left out because of the suffix: 2 .dcm (c/1.dcm, c/2.dcm)",
    )


def test_classes_without_an_image_are_told(tmp_path: Path) -> None:
    make(tmp_path, {"train/a/1.png": 1, "train/b/2.png": 2, "test/only-there/3.png": 3, "test/a/4.png": 4})
    (tmp_path / "train/empty").mkdir()
    (tmp_path / "test/b").mkdir()
    assert read(tmp_path).gaps == {
        "train": ("no image of the classes empty, only-there",),
        "test": ("no image of the class b",),
    }


def test_of_agreed_classes_only_those_with_a_folder_are_told(tmp_path: Path) -> None:
    make(tmp_path, {"train/a/1.png": 1})
    (tmp_path / "train/c").mkdir()
    assert read(tmp_path, classes=["a", "b", "c"]).gaps["train"] == ("no image of the class c",)


def test_a_class_of_which_no_file_can_be_read_is_told(tmp_path: Path) -> None:
    make(tmp_path, {"a/1.png": 1, "b/2.png": 2})
    touch(tmp_path, "c/3.png")
    assert read(tmp_path, unreadable="skip").gaps["train"] == ("no image of the class c",)


def test_many_classes_without_an_image_are_counted(tmp_path: Path) -> None:
    make(tmp_path, {"a/1.png": 1, "b/2.png": 2})
    for place in range(8):
        (tmp_path / f"c{place}").mkdir()
    assert read(tmp_path).gaps["train"] == ("no image of the classes c0, c1, c2, c3, c4 and 3 more",)


def test_a_link_to_a_folder_further_down_is_told(tmp_path: Path) -> None:
    make(tmp_path, {"folder/a/1.png": 1, "folder/b/2.png": 2, "elsewhere/3.png": 3})
    (tmp_path / "folder/a/more").symlink_to(tmp_path / "elsewhere")
    assert "1 links to folders (a/more)" in read(tmp_path / "folder").gaps["train"][0]


LEFT_BEHIND = ["__MACOSX", "@eaDir", ".ipynb_checkpoints", ".Trashes", "$RECYCLE.BIN", "lost+found", "__pycache__"]


@pytest.mark.parametrize("name", LEFT_BEHIND)
@pytest.mark.parametrize("place", ["", "train/", "train/a/"])
def test_a_folder_that_nobody_put_there_is_none(tmp_path: Path, name: str, place: str) -> None:
    make(tmp_path, {"train/a/1.png": 1, "train/b/2.png": 2, f"{place}{name}/a/3.png": 3, f"{place}{name}/4.png": 4})
    touch(tmp_path, f"{place}{name}/x.bin", "train/a/.DS_Store", "train/a/._1.png", "train/b/Thumbs.db")
    read_ = read(tmp_path)
    assert read_.class_names == find_classes(find_parts(tmp_path)) == ("a", "b")
    assert len(read_.parts["train"]) == 2
    assert read_.gaps == {"train": ()}
    assert len(find_images(tmp_path)) == 2


def test_a_folder_to_predict_tells_what_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, {"1.png": 1})
    touch(tmp_path, "2.dcm", "notes.txt")
    assert len(find_images(tmp_path)) == 1
    assert caplog.messages == [
        f"{tmp_path}: 2 files left out because of the suffix: 1 .dcm (2.dcm), 1 .txt (notes.txt)"
    ]


def test_a_folder_without_an_image_tells_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path, "2.dcm")
    with pytest.raises(DataError, match=r"holds no image \(.*\); 1 file left out because of the suffix: 1 \.dcm"):
        find_images(tmp_path)


def test_suffixes_are_written_in_lower_case() -> None:
    assert [suffix for suffix in SUFFIXES if suffix != suffix.lower() or not suffix.startswith(".")] == []
