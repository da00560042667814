"""The groups of a folder's images, from a CSV file that somebody made with a spreadsheet."""

from pathlib import Path

import pytest

from fedsq_flwr.data import folder_source, read_folder
from fedsq_flwr.data.groups import read_groups
from fedsq_flwr.errors import DataError
from tests.data.folders import as_they_are, greys, make

FILES = ["train/cat/1.png", "train/dog/2.png"]


def write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    return path


def complaint(path: Path, files: list[str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_groups(path, files or FILES, ["test/cat/9.png"])
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_groups_come_in_the_order_of_the_files_whatever_that_of_the_lines(tmp_path, encoding) -> None:
    lines = ["camera,group,file", "x,Zürich, train/dog/2.png ", 'y,"A, north",train/cat/1.png', "z,C,test/cat/9.png"]
    path = write(tmp_path / "groups.csv", *lines, encoding=encoding)
    assert read_groups(path, FILES, ["test/cat/9.png"]) == ("A, north", "Zürich")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["image,group", "train/cat/1.png,a"], "must have the columns file and group"),
        ([], "must have the columns file and group"),
        (["file,group", "train/cat/1.png,a"], "has no group for train/dog/2.png"),
        (["file,group"], "has no group for train/cat/1.png and 1 more"),
        (["file,group", "train/cat/1.png,", "train/dog/2.png,b"], "has no group for train/cat/1.png (line 2)"),
        (["file,group", "train/cat/1.png"], "has no group for train/cat/1.png (line 2)"),
        (["file,group", *2 * ["train/cat/1.png,a"]], "names train/cat/1.png twice (line 3)"),
        (
            ["file,group", "train/cat/1.png,a", "train/dog/2.png,a", "dog/3.png,a"],
            "names dog/3.png: no image of the folder",
        ),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_one_line(tmp_path, lines, told) -> None:
    assert complaint(write(tmp_path / "groups.csv", *lines)) == f"partition.groups=FILE: {told}"


def test_a_file_that_cannot_be_read_is_one_line(tmp_path) -> None:
    assert complaint(tmp_path / "no.csv").startswith("partition.groups=FILE: there is no such file")
    assert complaint(tmp_path).startswith("partition.groups=FILE: cannot be read")
    (tmp_path / "groups.csv").write_bytes(b"file,group\n\xff,a\n")
    assert complaint(tmp_path / "groups.csv").startswith("partition.groups=FILE: cannot be read")


def test_groups_stay_with_their_images_where_a_test_set_is_drawn_and_files_are_left_out(tmp_path) -> None:
    names = [f"{'ab'[number % 2]}/{number:02}.png" for number in range(20)]
    make(tmp_path, {name: number for number, name in enumerate(names)})
    (tmp_path / names[5]).write_bytes(b"broken")
    write(tmp_path / "groups.csv", "file,group", *(f"{name},ward {place % 3}" for place, name in enumerate(names)))
    folder = read_folder(tmp_path, classes=None, unreadable="skip", fit=as_they_are)
    source = folder_source(folder, test_fraction=0.25, seed=0, groups=tmp_path / "groups.csv")
    assert len(source.pool) == 14
    assert source.groups == tuple(f"ward {number % 3}" for number in greys(source.pool))
