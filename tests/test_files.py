"""A file is written whole or not at all."""

import os
from pathlib import Path

import pytest

from fedsq_flwr.files import oldest_beyond, write_whole


def test_what_is_there_is_replaced_in_one_step(tmp_path: Path) -> None:
    for content in (b"a", b"b"):
        write_whole(tmp_path / "file", content)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"b")]


def test_a_full_disk_leaves_the_old_one_and_nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "file", b"old")

    def fail(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:1])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="no space left"):
        write_whole(tmp_path / "file", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


@pytest.mark.parametrize(("kept", "gone"), [(0, "abc"), (1, "ab"), (2, "a"), (3, ""), (4, "")])
def test_what_was_changed_longest_ago_goes_first(tmp_path: Path, kept: int, gone: str) -> None:
    for age, name in enumerate("cba"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1_000 - age, 1_000 - age))
    assert [path.name for path in oldest_beyond(tmp_path.iterdir(), kept)] == list(gone)
