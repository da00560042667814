"""Where rows of packed gates are cached: in memory, or in a memory-mapped file that outlives the process.

A directory of such files may hold several structures and data sets; `file_of` names a file, `room_on_disk` makes
room for it.
"""

import logging
import os
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_CHECKSUM = 4  # bytes in front of a row on disk
_PIECE = 2**20  # bytes that are written at once
_SUFFIX = ".gates"
_PREFIX = 16  # digits of the structural fingerprint in a file's name

_CPU = torch.device("cpu")

log = logging.getLogger(__name__)


class Rows(Protocol):
    """Rows of bytes by sample number; samples from ``capacity`` on are not stored.

    Numbers of samples are on the CPU, and so is what is known of them, as arrays of numpy: a step of training asks
    for it, and may not wait for an accelerator.
    """

    capacity: int
    nbytes: int
    device: torch.device  # where the rows are

    def known(self, samples: Tensor) -> npt.NDArray[np.bool_]:
        """Return which of ``samples`` (int64) are stored."""
        ...

    def take(self, samples: Tensor) -> Tensor:
        """Return the rows of ``samples``, all known: uint8 ``(len(samples), bytes)`` on `device`, a copy."""
        ...

    def put(self, samples: Tensor, rows: Tensor) -> None:
        """Store ``rows`` of ``samples``, all below ``capacity``."""
        ...

    def forget(self) -> None:
        """Drop all rows."""
        ...


class MemoryRows:
    """Rows in one buffer of this process. The system assigns its memory as rows are written.

    Parameters
    ----------
    capacity, row_bytes : int
        Number of rows, and bytes of a row.
    device : torch.device
        Where the buffer is.
    pinned : bool
        Whether rows are taken into page-locked memory, from which a GPU copies them while the CPU goes on.
    """

    def __init__(self, capacity: int, row_bytes: int, device: torch.device = _CPU, *, pinned: bool = False) -> None:
        self.capacity = capacity
        self.nbytes = capacity * row_bytes
        self.device = device
        self._pinned = pinned
        self._rows = torch.empty((capacity, row_bytes), dtype=torch.uint8, device=device)
        self._is_known = np.zeros(capacity + 1, np.bool_)  # the last one is that of all samples beyond

    def known(self, samples: Tensor) -> npt.NDArray[np.bool_]:
        """Return which of ``samples`` are stored."""
        known: npt.NDArray[np.bool_] = self._is_known[np.minimum(samples.numpy(), self.capacity)]
        return known

    def take(self, samples: Tensor) -> Tensor:
        """Return the rows of ``samples``."""
        samples = samples.to(self.device, non_blocking=True)
        if not self._pinned:
            return self._rows.index_select(0, samples)
        taken = torch.empty((len(samples), self._rows.shape[1]), dtype=torch.uint8, pin_memory=True)
        return torch.index_select(self._rows, 0, samples, out=taken)

    def put(self, samples: Tensor, rows: Tensor) -> None:
        """Store ``rows`` of ``samples``."""
        self._rows.index_copy_(0, samples.to(self.device), rows.to(self.device))
        self._is_known[samples.numpy()] = True

    def forget(self) -> None:
        """Drop all rows."""
        self._is_known[:] = False


class DiskRows:
    """Rows in a memory-mapped file, each with a checksum over its bytes and its sample number.

    The file is safe to delete. Several processes may use it at once, since all of them write the same bytes. A row
    that is missing, half written or damaged does not match its checksum and counts as not stored, so a truncated
    file is filled again.

    The disk gives all of the file's space at once: a disk that is full when a row is written would kill the process.
    Where it has not got the space, or cannot be written, the rows are in memory, and a warning says so.
    """

    device = _CPU

    def __init__(self, path: Path, capacity: int, row_bytes: int) -> None:
        self.capacity = capacity
        self.nbytes = capacity * self.stride(row_bytes)
        shape = capacity, self.stride(row_bytes)
        self._file: npt.NDArray[np.uint8]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _allocate(path, self.nbytes)
            self._file = np.memmap(path, np.uint8, "r+", shape=shape)
        except OSError as error:
            log.warning("gate cache: %s: %s; its rows are kept in memory", path, error.strerror or error)
            self._file = np.zeros(shape, np.uint8)
        self._is_known = np.zeros(capacity + 1, np.bool_)  # checked by this process; the last one is of those beyond

    @staticmethod
    def stride(row_bytes: int) -> int:
        """Return the bytes that a row takes in the file."""
        return _CHECKSUM + row_bytes

    def known(self, samples: Tensor) -> npt.NDArray[np.bool_]:
        """Return which of ``samples`` are stored, whole and undamaged."""
        places = np.minimum(samples.numpy(), self.capacity)
        for sample in places[~self._is_known[places]].tolist():
            if sample < self.capacity:
                stored = self._file[sample]
                self._is_known[sample] = stored[:_CHECKSUM].tobytes() == _checksum(sample, stored[_CHECKSUM:])
        known: npt.NDArray[np.bool_] = self._is_known[places]
        return known

    def take(self, samples: Tensor) -> Tensor:
        """Return the rows of ``samples``."""
        return torch.from_numpy(self._file[samples.numpy(), _CHECKSUM:])

    def put(self, samples: Tensor, rows: Tensor) -> None:
        """Store ``rows`` of ``samples``."""
        for sample, row in zip(samples.tolist(), rows.cpu().numpy(), strict=True):
            self._file[sample, _CHECKSUM:] = row
            self._file[sample, :_CHECKSUM] = np.frombuffer(_checksum(sample, row), np.uint8)
        self._is_known[samples.numpy()] = True

    def forget(self) -> None:
        """Drop all rows."""
        self._file[:, :_CHECKSUM] = 0  # however often, by whomever: no row has this checksum
        self._is_known[:] = False


def _checksum(sample: int, row: npt.NDArray[np.uint8]) -> bytes:
    """Return the checksum of a row; it is never 0, which is that of a row that was not written or is forgotten."""
    return (zlib.crc32(row.tobytes(), sample & 0xFFFFFFFF) or 1).to_bytes(_CHECKSUM, "little")


def _allocate(path: Path, nbytes: int) -> None:
    """Have the disk give a file all of its space; what is in the file stays.

    Raises
    ------
    OSError
        If the disk has not got it; then no file is begun.
    """
    if path.exists() and (path.stat().st_size > nbytes or not path.is_file()):
        path.unlink()  # not truncated: another process may have it mapped
    with path.open("ab") as file:
        before = file.tell()
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, nbytes)
            else:  # macOS has no such call
                for start in range(before, nbytes, _PIECE):
                    file.write(bytes(min(_PIECE, nbytes - start)))
        except OSError:
            if before == 0:
                path.unlink(missing_ok=True)  # not truncated, see above
            raise


def file_of(directory: Path, fingerprint: str, key: str) -> Path:
    """Return the file of the rows cached under ``key``; its name begins with the structural fingerprint."""
    return directory / f"{fingerprint[:_PREFIX]}-{key[:24]}{_SUFFIX}"


def room_on_disk(own: Path, wanted: int, max_bytes: int) -> int:
    """Return the bytes that ``own`` may take, so that all files of its directory stay within ``max_bytes``.

    Files of other structures are deleted for it, least recently changed first. Files of its own structure are
    not: two data sets would delete each other's files for ever.
    """
    others = [(file, file.stat()) for file in own.parent.glob(f"*{_SUFFIX}") if file != own]
    used = sum(stat.st_size for _, stat in others)
    for file, stat in sorted(others, key=lambda other: other[1].st_mtime):
        if used + wanted > max_bytes and file.name[:_PREFIX] != own.name[:_PREFIX]:
            file.unlink(missing_ok=True)  # a process that has it mapped keeps its view
            used -= stat.st_size
            log.info("gate cache: %s, of another structure, made room", file.name)
    return max(0, max_bytes - used)
