"""Names that a log, a page or a file cannot hold are refused at the start; in messages they are escaped."""

import os
from pathlib import Path

import pytest
import torch

from fedsq_flwr.data import read_folder
from fedsq_flwr.data.cifar_binary import read_binary
from fedsq_flwr.data.groups import read_groups
from fedsq_flwr.data.image_files import read_image
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.names import check_names, shown
from fedsq_flwr.data.parquet_files import one_set_of_classes
from fedsq_flwr.data.published_facts import PUBLISHED
from fedsq_flwr.errors import DataError
from tests.data.folders import as_they_are, make

BAD = {
    "Latin-1": os.fsdecode(b"\xe9t\xe9"),
    "half a letter": os.fsdecode(b"\xc3"),
    "a surrogate": "a\ud800",
    "two lines": "a\nb",
    "a return": "a\rb",
    "a tab": "a\tb",
    "an escape": "\x1b[31mred",
    "a delete": "a\x7f",
    "a control of the upper half": "a\x85b",
    "a line separator": "a\u2028b",
    "turned round": "a\u202eb",
    "a mark": "\u200fa",
    "isolated": "\u2066a\u2069",
    "no character": "a\uffff",
}
GOOD = [
    "a|b",
    "<b>a",
    "$x_1$",
    "[red]",
    "été",
    "猫",
    "חתול",
    "a" * 255,
    " a ",
    "%s{0}",
    "👩‍🔬",
    "a,b;c",
    "'\"",
    "-",
    "=1+1",
]


def check_line(error: pytest.ExceptionInfo[DataError]) -> str:
    message = str(error.value)
    assert message.isprintable()
    message.encode("utf-8")
    return message


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_name_is_refused_and_shown_escaped(kind: str) -> None:
    with pytest.raises(DataError, match=r"^there: the name '.*' holds ") as caught:
        check_names(["a", BAD[kind], "b"], "there")
    assert check_line(caught).endswith("; rename it")


@pytest.mark.parametrize("name", GOOD)
def test_other_names_are_taken(name: str) -> None:
    check_names([name], "there")


def test_a_name_without_end_is_cut_in_the_message() -> None:
    with pytest.raises(DataError) as caught:
        check_names(["\n" + "a" * 10_000], "there")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "a surrogate"])
@pytest.mark.parametrize("classes", [None, ["a", "b"]])
def test_a_folder_of_that_name_is_refused_in_one_line(tmp_path: Path, kind: str, classes: list[str] | None) -> None:
    make(tmp_path, {"a/1.png": 1, "b/2.png": 2, f"{BAD[kind]}/3.png": 3})
    with pytest.raises(DataError, match=f"^{tmp_path}") as caught:
        read_folder(tmp_path, classes=classes, unreadable="fail", fit=as_they_are)
    check_line(caught)


def test_a_folder_of_any_other_name_is_a_class(tmp_path: Path) -> None:
    make(tmp_path, {f"{name}/1.png": 1 for name in GOOD})
    read = read_folder(tmp_path, classes=None, unreadable="fail", fit=as_they_are)
    assert read.class_names == tuple(sorted(GOOD))


def test_names_in_settings_are_held_to_the_same(tmp_path: Path) -> None:
    make(tmp_path, {"a/1.png": 1})
    with pytest.raises(DataError, match=r"^data\.classes: the name"):
        read_folder(tmp_path, classes=["a", "a\u202eb"], unreadable="fail", fit=as_they_are)


def test_names_in_published_files_are_held_to_the_same(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^there: the name 'a\\nb'"):
        one_set_of_classes({"train": (LabelledImages.none(), ("a\nb", "c"))}, "there")
    form = PUBLISHED["cifar10"].binary
    assert form is not None
    for files in form.files.values():
        for name in files:
            (tmp_path / name).write_bytes(bytes(form.labels + 3 * 32 * 32))
    (tmp_path / form.names).write_bytes(b"a\x01 b")
    with pytest.raises(DataError, match=r"the name 'a\\x01'"):
        read_binary(tmp_path, form, 32)


def test_names_of_groups_are_held_to_the_same(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text('file,group\na.png,"one\ntwo"\n')
    with pytest.raises(DataError, match=r"^partition\.groups=.*the name 'one\\ntwo'"):
        read_groups(tmp_path / "groups.csv", ["a.png"], [])


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "a surrogate"])
def test_a_file_of_that_name_is_read_and_shown_escaped_where_it_cannot_be(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{BAD[kind]}.png"
    make(tmp_path, {path.name: 51})
    assert torch.allclose(read_image(path), torch.tensor(0.2))
    path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(tmp_path) in check_line(caught)


def test_what_is_shown_is_the_name_itself_where_it_can_be() -> None:
    assert shown(Path("/a/été/猫 [1].png")) == "/a/été/猫 [1].png"
    assert shown(os.fsdecode(b"\xe9t\xe9/a\n.png")) == r"\xe9t\xe9/a\n.png"
