"""Files of weights in safetensors format: written atomically, checked when they are read, with what they state."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.pixel_statistics import image_side, pixel_statistics

#: How the name of a safetensors file ends.
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights on this machine, and what its publisher states about it; None where nothing is stated.

    Attributes
    ----------
    path : Path
        The file.
    source : str
        Where the file comes from, exact enough to get it again.
    licence : str or None
        As its publisher names it.
    input_size : int or None
        Height and width, in pixels, of the images that the network was trained on.
    mean, std : tuple of float or None
        Mean and standard deviation of the pixels (between 0 and 1), one for each channel or one for all.
        Images are normalised by them.
    sha256_begins : str
        First digits of the sha256 of the published file, where its name holds them; else empty.
    """

    path: Path
    source: str
    licence: str | None = None
    input_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    sha256_begins: str = ""


def stated(path: Path) -> dict[str, Any]:
    """Return what a safetensors file states about itself, as fields of `WeightsFile`; empty for other files.

    Its metadata (strings by name) may hold ``mean`` and ``std`` (a number, or a list with one for each
    channel), ``input_size`` (pixels) and ``licence``. Files that version 0.1 wrote call ``std`` ``deviation``.

    Raises
    ------
    WeightsError
        If the file cannot be read, or one of these values is not as it should be, see `pixel_statistics`.
    """
    said = read_metadata(path) if path.suffix.lower() == SUFFIX else {}
    if "deviation" in said:
        said.setdefault("std", said["deviation"])
    where = f"weights file {path}: its metadata cannot be read"
    values: dict[str, Any] = {name: _parsed(said[name]) for name in ("mean", "std", "input_size") if name in said}
    fields: dict[str, Any] = dict(pixel_statistics(where, values))
    if "input_size" in values:
        fields["input_size"] = image_side(where, values["input_size"])
    if "licence" in said:
        fields["licence"] = said["licence"]
    return fields


def _parsed(text: str) -> Any:
    """Return the JSON value in ``text``, or the text itself where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if value is None else value


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, shapes, dtypes and bytes of ``state``, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"|{name}:{tuple(tensor.shape)}:{tensor.dtype}=".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_weights(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write ``state`` to ``path``, whole or not at all, with the digest of ``state`` in the metadata.

    A reader never sees half a file: the file is written under another name in the same directory, synced,
    and renamed.
    """
    # Clones, because safetensors refuses tensors that share memory (tied weights).
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    payload = save(tensors, metadata={**metadata, "digest": state_digest(tensors)})
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata of a safetensors file; a digest in the metadata is checked.

    Raises
    ------
    WeightsError
        If the file is missing, is no safetensors file, is truncated, or does not match its own digest.
    """
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if "digest" in metadata and metadata["digest"] != state_digest(state):
        raise WeightsError(f"weights file {path} is damaged: its tensors do not match its digest")
    return state, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file, without its tensors.

    Raises
    ------
    WeightsError
        If the file is missing or is no safetensors file.
    """
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights file {path} cannot be read as safetensors: {error}") from error
