"""Reading files of weights in the formats that others publish: safetensors, and those of `torch.save`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.weights import read_weights

#: Suffixes of files that `torch.save` wrote; the hub uses ``.bin``.
TORCH_SUFFIXES = (".pth", ".pt", ".bin")

#: Names under which checkpoints of training programs hold the network's tensors.
_NESTED = ("state_dict", "model")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of ``path`` to the CPU; the suffix says which format the file has.

    Only tensors and plain containers are unpickled (``weights_only``). If a checkpoint holds more than the
    network's tensors, the part under ``state_dict`` or ``model`` is taken.

    Raises
    ------
    WeightsError
        If the file is missing, cannot be read, or holds something other than named tensors.
    """
    if path.suffix not in TORCH_SUFFIXES:
        return read_weights(path)[0]
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load of a damaged file may raise almost anything
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"weights file {path} cannot be read as tensors alone, without running code: {reason[0]}"
        ) from error
    state = _innermost(content)
    if not isinstance(state, Mapping):
        raise WeightsError(f"weights file {path} holds a {type(state).__name__}, not tensors by name")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(f"weights file {path}: {name!r} is a {type(tensor).__name__}, not a tensor by name")
    return {name: tensor.detach() for name, tensor in state.items()}


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _innermost(content: Any) -> Any:
    while isinstance(content, Mapping):
        nested = [content[key] for key in _NESTED if isinstance(content.get(key), Mapping)]
        if not nested:
            break
        content = nested[0]
    return content
