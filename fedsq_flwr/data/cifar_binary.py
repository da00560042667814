"""CIFAR's binary files, plain bytes, from their folder or from the archive as it is published.

Layout: https://www.cs.toronto.edu/~kriz/cifar.html. The form for Python is pickled, and nothing is unpickled here.
"""

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fedsq_flwr.data.decoded import Decoded
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.names import check_names
from fedsq_flwr.data.published_facts import BinaryArchive
from fedsq_flwr.errors import DataError


def read_binary(path: Path, form: BinaryArchive, size: int) -> Decoded:
    """Read CIFAR's binary files.

    Parameters
    ----------
    path : Path
        The folder, or the archive.
    form : BinaryArchive
        Which of the two CIFARs.
    size : int
        Pixels a side.

    Raises
    ------
    DataError
        If a file is missing, cut short, or holds an unknown class.
    """
    if path.is_dir():
        return _read(path, form, size, lambda name: (path / name).read_bytes())
    try:
        with tarfile.open(path, "r:gz") as archive:  # read from, never unpacked

            def content(name: str) -> bytes:
                member = archive.extractfile(f"{form.folder}/{name}")
                if member is None:
                    raise KeyError(name)
                return member.read()

            return _read(path, form, size, content)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as an archive: {error}") from error


def _read(path: Path, form: BinaryArchive, size: int, content: Callable[[str], bytes]) -> Decoded:
    name = form.names
    try:
        class_names = tuple(content(name).decode("ascii").split())
        parts = {}
        for part, files in form.files.items():
            batches = []
            for name in files:
                batches.append(_records(content(name), f"{path}: {name}", form, size, len(class_names)))
            records = np.concatenate(batches)
            pixels = records[:, form.labels :].reshape(-1, 3, size, size)
            labels = records[:, form.labels - 1].astype(np.int64)
            parts[part] = LabelledImages(torch.from_numpy(pixels.copy()), torch.from_numpy(labels))
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {name} is missing or cannot be read: {error}") from error
    check_names(class_names, f"{path}: {form.names}")
    return Decoded(parts, class_names)


def _records(content: bytes, where: str, form: BinaryArchive, size: int, classes: int) -> np.ndarray:
    length = form.labels + 3 * size * size
    if not content or len(content) % length:
        raise DataError(f"{where} is damaged: it has {len(content)} bytes, not a multiple of {length}")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, length)
    if records[:, form.labels - 1].max() >= classes:
        raise DataError(f"{where} holds the class {records[:, form.labels - 1].max()}, of {classes} with a name")
    return records
