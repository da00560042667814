"""`fedsq doctor` reads every image of the silo's folder, and names what cannot be read."""

from pathlib import Path

import pytest

from fedsq_flwr.silos.checks.finding import Finding, Mark
from fedsq_flwr.silos.checks.images import Contents, check_images
from tests.data.folders import make

FILES = {"train/cat/1.png": 1, "train/cat/2.png": 2, "train/dog/3.png": 3, "validation/dog/4.png": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path, FILES)


def checked(
    folder: Path, classes: list[str] | None = None, unreadable: str = "fail"
) -> tuple[Finding, Contents | None]:
    return check_images(folder, classes, unreadable, lambda _: None)


def test_images_are_counted_by_part_and_class(folder: Path) -> None:
    finding, contents = checked(folder)
    assert finding.mark == Mark.OK
    assert finding.found.splitlines() == ["train 3: cat=2, dog=1", "validation 1: cat=0, dog=1"]
    assert contents == Contents(("cat", "dog"), 4, 3)


def test_classes_are_in_the_runs_order_and_may_lack_images(folder: Path) -> None:
    finding, _ = checked(folder, ["dog", "bird", "cat"])
    assert finding.mark == Mark.OK
    assert finding.found.splitlines()[0] == "train 3: dog=1, bird=0, cat=2"


def test_a_folder_of_no_class_of_the_run_fails(folder: Path) -> None:
    finding, contents = checked(folder, ["cat", "bird"])
    assert (finding.mark, contents) == (Mark.FAIL, None)
    assert finding.found == f"{folder / 'train' / 'dog'}: is none of the classes cat, bird"


def test_many_classes_are_not_listed(tmp_path: Path) -> None:
    make(tmp_path, {f"class-{label}/{place}.png": 0 for label in range(13) for place in range(label % 2 + 1)})
    assert checked(tmp_path)[0].found == "train 19: 13 classes, each 1 to 2"


@pytest.mark.parametrize(("unreadable", "advice"), [("fail", "data.unreadable=skip"), ("skip", "leaves them out")])
def test_the_first_files_that_cannot_be_read_are_named(folder: Path, unreadable: str, advice: str) -> None:
    for place in range(7):
        (folder / "train" / "cat" / f"x{place}.png").write_text("no image")
    finding, contents = checked(folder, unreadable=unreadable)
    assert finding.mark == Mark.WARN
    lines = finding.found.splitlines()
    assert lines[2] == "7 of 11 files cannot be read, the first being"
    assert [line.partition(":")[0] for line in lines[3:]] == [
        str(folder / "train" / "cat" / f"x{place}.png") for place in range(5)
    ]
    assert advice in finding.advice
    assert contents == Contents(("cat", "dog"), 4, 3)


def test_a_part_of_which_nothing_can_be_read_fails(folder: Path) -> None:
    (folder / "validation" / "dog" / "4.png").write_bytes(b"")
    finding, contents = checked(folder)
    assert finding.mark == Mark.FAIL
    assert finding.found.endswith("no image of validation can be read")
    assert contents is not None


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"cat/1.png": 1}, "only one folder of a class"),
        ({"validation/cat/1.png": 1, "validation/dog/2.png": 1}, "but not train"),
        ({"train/cat/1.png": 1, "train/dog/2.png": 1, "extra/3.png": 1}, "extra: beside train only"),
    ],
)
def test_a_folder_that_is_laid_out_otherwise_fails(tmp_path: Path, files: dict[str, int], told: str) -> None:
    finding, contents = checked(make(tmp_path, files))
    assert (finding.mark, contents) == (Mark.FAIL, None)
    assert told in finding.found


def test_it_says_how_far_it_is(tmp_path: Path) -> None:
    make(tmp_path, {f"{name}/{place}.png": 0 for name in "ab" for place in range(60)})
    told: list[str] = []
    check_images(tmp_path, None, "fail", told.append)
    assert told == ["reading the images, 0 of 120", "reading the images, 100 of 120"]


def test_what_gives_no_image_is_told_as_in_a_run(folder: Path) -> None:
    (folder / "train" / "eel").mkdir()
    for place in range(4):
        (folder / "train" / "eel" / f"{place}.dcm").touch()
    (folder / "train" / "__MACOSX").mkdir()
    finding, contents = checked(folder)
    assert finding.mark == Mark.WARN
    assert finding.found.splitlines() == [
        "train 3: cat=2, dog=1, eel=0",
        "validation 1: cat=0, dog=1, eel=0",
        "train: no image of the class eel",
        "train: 4 files left out because of the suffix: 4 .dcm (eel/0.dcm, eel/1.dcm, eel/2.dcm, ...)",
    ]
    assert contents == Contents(("cat", "dog", "eel"), 4, 3)


@pytest.mark.parametrize("name", ["a\nb", "a\u202eb", "\udce9"])
def test_a_class_whose_name_a_run_refuses_fails(folder: Path, name: str) -> None:
    (folder / "train" / name).mkdir()
    finding, _ = checked(folder)
    assert finding.mark == Mark.FAIL
    assert finding.found.endswith("; rename it")
