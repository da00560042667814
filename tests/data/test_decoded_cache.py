"""Decoded images are kept: found again, never when the files changed, and within bounds."""

import os
from pathlib import Path

import pytest
import torch

from fedsq_flwr.data import decoded
from fedsq_flwr.data.decoded import Decoded, Origin, key_of_files, read_through
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.published import load_published
from tests.data.published import parquet, pictures


class Counted:
    """An origin of one grey value that counts its readings."""

    def __init__(self, key: str = "a", value: int = 1) -> None:
        self.key, self.value, self.readings = key, value, 0

    def origin(self) -> Origin:
        return Origin(lambda: self.key, self.read)

    def read(self) -> Decoded:
        self.readings += 1
        images = torch.full((4, 3, 8, 8), self.value, dtype=torch.uint8)
        return Decoded({"train": LabelledImages(images, torch.tensor([0, 1, 1, 0]))}, ("x", "y"))


def test_what_was_decoded_once_is_mapped_afterwards(tmp_path: Path) -> None:
    source = Counted()
    first, second = (read_through(source.origin(), tmp_path) for _ in range(2))
    assert source.readings == 1
    assert second.class_names == ("x", "y")
    assert torch.equal(first.parts["train"].images[:], second.parts["train"].images[:])
    assert torch.equal(first.parts["train"].labels, second.parts["train"].labels)
    assert second.parts["train"].images.dtype == torch.uint8


def test_another_key_is_read_and_a_damaged_file_is_read_anew(tmp_path: Path) -> None:
    read_through(Counted("a").origin(), tmp_path)
    other = Counted("b", value=2)
    assert read_through(other.origin(), tmp_path).parts["train"].images[0, 0, 0, 0] == 2
    for damage in (b"", b"nonsense", b"\xff" * 100):
        for file in tmp_path.iterdir():
            file.write_bytes(damage)
        assert read_through(other.origin(), tmp_path).parts["train"].images[0, 0, 0, 0] == 2
    assert other.readings == 4


def test_files_that_change_while_they_are_read_are_not_kept(tmp_path: Path) -> None:
    source = Counted()
    keys = iter(["before", "after"])
    read_through(Origin(lambda: next(keys), source.read), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").touch()
    assert read_through(Counted().origin(), tmp_path / "file" / "below").class_names == ("x", "y")
    assert "cannot be kept" in caplog.text


def test_the_files_not_used_for_longest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_through(Counted("a").origin(), tmp_path)
    first = next(tmp_path.iterdir())
    monkeypatch.setattr(decoded, "MAX_BYTES", int(2.5 * first.stat().st_size))
    read_through(Counted("b").origin(), tmp_path)
    second = next(path for path in tmp_path.iterdir() if path != first)
    os.utime(first, (1000, 1000))
    os.utime(second, (500, 500))
    read_through(Counted("a").origin(), tmp_path)  # used again just now
    read_through(Counted("c").origin(), tmp_path)
    assert first.exists()
    assert not second.exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_is_replaced_with_its_size_and_time_set_back_has_another_key(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    file.write_bytes(b"one")
    before, stat = key_of_files("kind", [file]), file.stat()
    assert key_of_files("kind", [file]) == before
    assert key_of_files("other", [file]) != before
    file.unlink()
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert key_of_files("kind", [file]) != before


def test_a_published_data_set_is_decoded_once_and_again_when_a_file_changes(tmp_path: Path) -> None:
    files, cache = tmp_path / "files", tmp_path / "cache"
    for part in ("train", "test"):
        parquet(files / f"{part}.parquet", pictures(4), [0, 1, 2, 0])

    def load() -> torch.Tensor:
        return load_published("cifar10", path=files, revision="", cache=cache).pool.images[:]

    first = load()
    assert torch.equal(load(), first)
    assert len(list(cache.iterdir())) == 1
    parquet(files / "train.parquet", pictures(4, seed=9), [0, 1, 2, 0])
    assert not torch.equal(load(), first)
