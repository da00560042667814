"""A folder of images of one's own: what is found in it, in which order, and what is refused."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsq_flwr.data import ImageFolder, read_folder
from fedsq_flwr.errors import DataError
from tests.data.folders import as_they_are, greys, make


def read(folder: Path, **changes: object) -> ImageFolder:
    return read_folder(folder, **{"classes": None, "unreadable": "fail", "fit": as_they_are, **changes})


def complaint(folder: Path, **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_parts_and_their_classes_are_found(tmp_path):
    make(tmp_path, {"train/cat/1.png": 1, "train/dog/2.png": 2, "validation/dog/3.png": 3, "test/cat/4.png": 4})
    read_ = read(tmp_path)
    assert read_.class_names == ("cat", "dog")
    assert {part: (greys(images), images.labels.tolist()) for part, images in read_.parts.items()} == {
        "train": ([1, 2], [0, 1]),
        "validation": ([3], [1]),
        "test": ([4], [0]),
    }
    assert read_.skipped == {"train": (), "validation": (), "test": ()}
    assert read_.path == tmp_path
    assert all(images.labels.dtype == torch.int64 for images in read_.parts.values())


def test_folders_of_classes_alone_are_the_part_train(tmp_path):
    read_ = read(make(tmp_path, {"b/1.png": 1, "a/2.png": 2}))
    assert list(read_.parts) == ["train"]
    assert greys(read_.parts["train"]) == [1, 2]
    assert read_.parts["train"].labels.tolist() == [1, 0]


def test_images_are_in_the_order_of_their_names_whatever_their_class(tmp_path):
    files = ["b/000000.png", "a/000001.png", "b/deep/000002.png", "c/000003.jpg", "a/000004.png", "a/x/same.png"]
    files += ["b/a/same.png", "b/same.png"]
    read_ = read(make(tmp_path, {name: place for place, name in enumerate(files)}))
    assert greys(read_.parts["train"]) == list(range(8))
    assert read_.parts["train"].labels.tolist() == [1, 0, 1, 2, 0, 0, 1, 1]


def test_what_is_hidden_and_what_is_no_image_is_left_out(tmp_path):
    make(tmp_path, {"a/1.png": 1, "b/2.png": 2, "a/.3.png": 3, "a/.git/4.png": 4, ".c/5.png": 5, ".6.png": 6})
    for name in ("README.md", "a/notes.txt", "labels.csv"):
        (tmp_path / name).touch()
    read_ = read(tmp_path)
    assert greys(read_.parts["train"]) == [1, 2]
    assert read_.class_names == ("a", "b")


def test_a_class_may_be_a_link_to_a_folder_elsewhere(tmp_path):
    make(tmp_path, {"elsewhere/1.png": 1, "folder/train/b/2.png": 2})
    (tmp_path / "folder/train/a").symlink_to(tmp_path / "elsewhere")
    read_ = read(tmp_path / "folder")
    assert read_.class_names == ("a", "b")
    assert greys(read_.parts["train"]) == [1, 2]


def test_a_link_to_nothing_is_named(tmp_path):
    make(tmp_path, {"a/1.png": 1, "b/2.png": 2})
    (tmp_path / "c").symlink_to(tmp_path / "gone")
    assert complaint(tmp_path) == f"{tmp_path}/c: is a link to nothing"


def test_classes_that_were_agreed_give_the_labels_and_may_lack_images(tmp_path):
    make(tmp_path, {"train/cat/1.png": 1, "train/ant/2.png": 2})
    (tmp_path / "train/dog").mkdir()
    read_ = read(tmp_path, classes=["dog", "cat", "eel", "ant"])
    assert read_.class_names == ("dog", "cat", "eel", "ant")
    assert read_.parts["train"].labels.tolist() == [1, 3]


def test_classes_by_default_are_those_of_all_parts_even_of_parts_that_are_not_read(tmp_path):
    make(tmp_path, {"train/c/1.png": 1, "train/a/2.png": 2, "test/b/3.png": 3})
    read_ = read(tmp_path, parts=("test",))
    assert read_.class_names == ("a", "b", "c")
    assert list(read_.parts) == ["test"]
    assert read_.parts["test"].labels.tolist() == [1]


def test_a_class_that_was_not_agreed_is_named_with_the_list_before_any_image_is_read(tmp_path):
    make(tmp_path, {"train/a/1.png": 1, "train/b/2.png": 2, "test/zebra/3.png": 3})
    (tmp_path / "train/a/1.png").write_text("broken")
    assert complaint(tmp_path, classes=["b", "a"]) == f"{tmp_path}/test/zebra: is none of the classes b, a"


def test_a_part_that_is_not_wanted_is_not_looked_at_where_classes_are_agreed(tmp_path):
    make(tmp_path, {"train/z/1.png": 1, "train/2.png": 2, "validation/a/3.png": 3, "test/b/4.png": 4})
    read_ = read(tmp_path, classes=["a", "b"], parts=("validation", "test"))
    assert list(read_.parts) == ["validation", "test"]


def test_a_folder_without_any_of_the_wanted_parts_is_refused(tmp_path):
    make(tmp_path, {"train/a/1.png": 1, "train/b/2.png": 2})
    told = complaint(tmp_path, parts=("validation", "test"))
    assert told == f"{tmp_path}: holds train, but not validation or test"


@pytest.mark.parametrize("name", ["a", "val", "Train"])
def test_another_folder_beside_the_parts_is_named(tmp_path, name):
    make(tmp_path, {"train/a/1.png": 1, f"{name}/2.png": 2})
    assert complaint(tmp_path) == f"{tmp_path}/{name}: beside train only train, validation, test may lie"


@pytest.mark.parametrize("place", ["2.png", "train/2.png", "test/2.png"])
def test_an_image_in_no_class_is_named(tmp_path, place):
    make(tmp_path, {"train/a/1.png": 1, "train/b/3.png": 3, "test/a/4.png": 4, place: 2})
    assert complaint(tmp_path) == f"{tmp_path}/{place}: lies in no folder of a class, and every image must"


@pytest.mark.parametrize("classes", [None, ["a", "b"]])
def test_a_part_without_an_image_is_named(tmp_path, classes):
    make(tmp_path, {"train/a/1.png": 1, "train/b/2.png": 2})
    (tmp_path / "test/a").mkdir(parents=True)
    (tmp_path / "test/a/notes.txt").touch()
    assert complaint(tmp_path, classes=classes) == (
        f"{tmp_path}/test: holds no image in the folders of its classes; "
        "1 file left out because of the suffix: 1 .txt (a/notes.txt)"
    )


def test_fewer_than_two_classes_are_refused_unless_they_were_agreed(tmp_path):
    assert "holds no folder of a class; at least 2" in complaint(tmp_path)
    make(tmp_path, {"a/1.png": 1})
    assert complaint(tmp_path) == f"{tmp_path}: holds only one folder of a class (a); at least 2 are needed"
    assert len(read(tmp_path, classes=["a", "b"]).parts["train"]) == 1


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert complaint(tmp_path / "nowhere") == f"{tmp_path}/nowhere: no such folder"
    (tmp_path / "file").touch()
    assert complaint(tmp_path / "file") == f"{tmp_path}/file: no such folder"


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    make(tmp_path, {"train/a/1.png": 1, "train/b/2.png": 2})

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert complaint(tmp_path) == f"{tmp_path}: cannot be read: Permission denied"


@pytest.fixture
def with_broken_files(tmp_path):
    make(tmp_path, {f"train/{'ab'[number % 2]}/{number}.png": number for number in range(6)})
    make(tmp_path, {"test/a/1.png": 1})
    for name in ("train/b/1.png", "train/a/4.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:20])
    return tmp_path


def test_a_file_that_cannot_be_read_ends_it(with_broken_files):
    assert complaint(with_broken_files).startswith(f"{with_broken_files}/train/b/1.png: ")


def test_files_that_cannot_be_read_are_left_out_named_and_counted(with_broken_files, caplog):
    caplog.set_level("INFO")
    read_ = read(with_broken_files, unreadable="skip")
    assert greys(read_.parts["train"]) == [0, 2, 3, 5]
    assert read_.parts["train"].labels.tolist() == [0, 0, 1, 1]
    broken = (with_broken_files / "train/b/1.png", with_broken_files / "train/a/4.png")
    assert read_.skipped == {"train": broken, "test": ()}
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert all(str(path) in told and "left out" in told for path, told in zip(broken, warnings, strict=True))
    assert f"read 4 images of {with_broken_files}/train, left out 2" in caplog.messages


def test_a_part_of_which_nothing_can_be_read_is_refused_even_so(with_broken_files):
    (with_broken_files / "test/a/1.png").write_text("broken")
    told = complaint(with_broken_files, unreadable="skip")
    assert told == f"{with_broken_files}/test: none of its 1 images can be read"


def test_raw_images_are_not_kept_until_the_end(tmp_path):
    make(tmp_path, {f"{'ab'[number % 2]}/{number}.png": number for number in range(9)})
    sizes = []

    def fit(images):
        sizes.append(len(images))
        return images

    read(tmp_path, fit=fit)
    assert sizes == [1] * 9


@given(
    names=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.text("01xé", min_size=1, max_size=3)),
        min_size=1,
        max_size=20,
        unique=True,
    )
)
@settings(deadline=None, max_examples=25)
def test_the_order_is_of_the_file_names_then_of_the_classes(tmp_path_factory, names):
    folder = make(
        tmp_path_factory.mktemp("folder"), {f"{c}/{name}.png": place for place, (c, name) in enumerate(names)}
    )
    expected = sorted(range(len(names)), key=lambda place: (f"{names[place][1]}.png", names[place][0]))
    assert greys(read(folder, classes=["a", "b", "c"]).parts["train"]) == expected
