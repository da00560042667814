"""Rows of gates on the disk: what is forgotten stays so, and a disk that takes none costs no process."""

import errno
import os
from pathlib import Path

import pytest
import torch

from fedsq_flwr.gating import DualCopy, GateCache, digest
from fedsq_flwr.gating.packed.rows import DiskRows, MemoryRows
from tests.gating.gated_networks import batch_for, build


def stored(rows: DiskRows) -> list[bool]:
    return rows.known(torch.arange(rows.capacity)).tolist()


def test_rows_that_two_workers_forget_stay_forgotten(tmp_path: Path) -> None:
    workers = [DiskRows(tmp_path / "a.gates", 4, 8) for _ in range(2)]
    some = torch.tensor([0, 2])
    workers[0].put(some, torch.randint(256, (2, 8), dtype=torch.uint8))
    assert stored(workers[1]) == [True, False, True, False]
    for worker in (*workers, *workers):
        worker.forget()
        assert stored(DiskRows(tmp_path / "a.gates", 4, 8)) == [False] * 4
    workers[1].put(some[:1], torch.zeros((1, 8), dtype=torch.uint8))
    assert stored(DiskRows(tmp_path / "a.gates", 4, 8)) == [True, False, False, False]


def test_a_row_whose_checksum_would_be_that_of_no_row_is_stored(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fedsq_flwr.gating.packed.rows.zlib.crc32", lambda *_: 0)
    rows = DiskRows(tmp_path / "a.gates", 2, 8)
    rows.put(torch.tensor([1]), torch.zeros((1, 8), dtype=torch.uint8))
    assert stored(DiskRows(tmp_path / "a.gates", 2, 8)) == [False, True]


def test_the_disk_has_given_all_space_before_a_row_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.gates"
    with path.open("wb") as file:
        file.truncate(100 * DiskRows.stride(8192))  # with holes, as of version 0.1
    rows = DiskRows(path, 100, 8192)
    assert path.stat().st_blocks * 512 >= rows.nbytes == path.stat().st_size
    assert not any(stored(rows))


@pytest.mark.parametrize("harm", ["full", "read-only", "no folder"])
def test_where_the_disk_takes_no_rows_they_are_in_memory_and_told(harm: str, tmp_path: Path, monkeypatch, caplog):
    directory = tmp_path / "gates"
    if harm == "full":

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "posix_fallocate", full)
    elif harm == "read-only":

        def read_only(path: Path, *_: object, **__: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

        monkeypatch.setattr(Path, "open", read_only)
    else:
        directory.touch()
    dual = DualCopy(build("linear layers"))
    images, _ = batch_for(dual.quantitative, count=24)
    samples, cache = torch.arange(24), GateCache(directory=directory)
    gates = cache.bind(dual, data=digest(images), samples=24)
    first = gates.of(samples, images)
    assert torch.equal(gates.of(samples, images).rows, first.rows)
    assert (cache.hits, cache.misses) == (24, 24)
    assert "its rows are kept in memory" in caplog.text
    assert not list(tmp_path.rglob("*.gates"))


def test_rows_on_a_device_stay_there() -> None:
    rows = MemoryRows(4, 8, torch.device("meta"))
    rows.put(torch.tensor([1, 3]), torch.zeros((2, 8), dtype=torch.uint8))
    assert rows.known(torch.arange(6)).tolist() == [False, True, False, True, False, False]
    assert rows.take(torch.tensor([3])).device.type == "meta"
