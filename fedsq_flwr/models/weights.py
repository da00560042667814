"""Files of weights: safetensors, written atomically, checked when they are read."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedsq_flwr.errors import WeightsError


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, shapes, dtypes and bytes of ``state``, in order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"|{name}:{tuple(tensor.shape)}:{tensor.dtype}=".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_weights(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write ``state`` to ``path``, whole or not at all, with its digest among the metadata.

    A reader never sees half a file: it is written beside its place, synced, and moved there.
    """
    # Clones, because tensors that share memory (tied weights) are refused by safetensors.
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
    """Read tensors and metadata of a safetensors file; a digest among the metadata is checked.

    Raises
    ------
    WeightsError
        If the file is missing, is no safetensors file, is cut short, or does not match its own digest.
    """
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if "digest" in metadata and metadata["digest"] != state_digest(state):
        raise WeightsError(f"weights file {path} is damaged: its tensors do not match its digest")
    return state, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file, and no tensor.

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
