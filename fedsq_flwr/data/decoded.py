"""Images that were decoded once, kept in files that later processes map into memory in milliseconds.

The files are safe to delete, at any time: they are made again.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedsq_flwr.data.images import LabelledImages

log = logging.getLogger(__name__)

#: Part of every key, to be raised when decoding changes.
_VERSION = 1

#: What the files of a cache may take together (our choice): the four published data sets fit.
MAX_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Decoded:
    """A data set in memory.

    Attributes
    ----------
    parts : mapping of str to LabelledImages
        By ``train``, ``validation``, ``test``, where there are such; images ``(N, 3, H, W)`` uint8.
    class_names : tuple of str
        What the labels are places in.
    """

    parts: Mapping[str, LabelledImages]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """Where a data set is read from.

    Attributes
    ----------
    key : callable
        Says what `read` would read at this moment, in a text that differs whenever the images may.
    read : callable
        Reads and decodes all of it. Raises `DataError`.
    """

    key: Callable[[], str]
    read: Callable[[], Decoded]


def key_of_files(kind: str, files: Iterable[Path]) -> str:
    """Return a text that differs whenever one of ``files`` was changed, replaced or moved.

    The time of the last change of the inode is in it, which no program can set back.
    """
    digest = hashlib.sha256()
    for path in files:
        stat = path.stat()
        digest.update(f"{path}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_ino}\n".encode())
    return f"{kind} {digest.hexdigest()}"


def read_through(origin: Origin, directory: Path) -> Decoded:
    """Return what ``origin`` holds, from the cache in ``directory`` if it is there, else read and kept there.

    A file that is damaged is read anew. What changed while it was read is not kept, and a cache that cannot be
    written costs a warning only. When the files take more than `MAX_BYTES`, those not used for longest go.

    Raises
    ------
    DataError
        As ``origin.read``.
    """
    key = origin.key()
    path = directory / f"{hashlib.sha256(f'{_VERSION} {key}'.encode()).hexdigest()[:32]}.safetensors"
    kept = _load(path)
    if kept is not None:
        return kept
    decoded = origin.read()
    if origin.key() == key:
        try:
            _save(path, decoded)
            _make_room(directory, path)
        except OSError as error:
            log.warning("decoded images cannot be kept in %s: %s", directory, error)
    return decoded


def _load(path: Path) -> Decoded | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:  # maps the file: pages are read when they are used
            facts = json.loads(file.metadata()["facts"])
            parts = {
                part: LabelledImages(file.get_tensor(f"{part}.images"), file.get_tensor(f"{part}.labels"))
                for part in facts["parts"]
            }
        os.utime(path)  # used now
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        log.warning("decoded images in %s cannot be used (%s); they are read anew", path, error)
        return None
    return Decoded(parts, tuple(facts["class_names"]))


def _save(path: Path, decoded: Decoded) -> None:
    """Write beside the place and move there, so that no reader sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for part, images in decoded.parts.items():
        tensors |= {f"{part}.images": images.images[:].contiguous(), f"{part}.labels": images.labels.contiguous()}
    facts = {"parts": list(decoded.parts), "class_names": list(decoded.class_names)}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, beside, {"facts": json.dumps(facts)})
        beside.replace(path)
    except SafetensorError as error:  # a full disk, among others
        raise OSError(str(error)) from error
    finally:
        beside.unlink(missing_ok=True)


def _make_room(directory: Path, newest: Path) -> None:
    """Remove the files not used for longest until the rest take at most `MAX_BYTES`; ``newest`` stays."""
    stats = sorted(((path.stat(), path) for path in directory.glob("*.safetensors")), key=lambda s: s[0].st_mtime_ns)
    taken = sum(stat.st_size for stat, _ in stats)
    for stat, path in stats:
        if taken <= MAX_BYTES:
            break
        if path != newest:
            path.unlink(missing_ok=True)
            taken -= stat.st_size
