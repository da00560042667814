"""Files of weights: safetensors, written atomically, checked when they are read."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

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
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights file {path} cannot be read as safetensors: {error}") from error
    if "digest" in metadata and metadata["digest"] != state_digest(state):
        raise WeightsError(f"weights file {path} is damaged: its tensors do not match its digest")
    return state, metadata


def load_weights(network: nn.Module, path: Path) -> None:
    """Load all weights and statistics of ``network`` from a safetensors file.

    Raises
    ------
    WeightsError
        If the file cannot be read, or a name is missing or unknown, or a shape differs; the message
        names the tensors. ``num_batches_tracked`` may be absent.
    """
    state, _ = read_weights(path)
    own = network.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing, unknown = sorted(own.keys() - state.keys() - counters), sorted(state.keys() - own.keys())
    if missing or unknown:
        raise WeightsError(f"weights file {path}: missing {_some(missing)}, unknown {_some(unknown)}")
    reshaped = [name for name in state if state[name].shape != own[name].shape]
    if reshaped:
        name = reshaped[0]
        raise WeightsError(
            f"weights file {path}: '{name}' has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        )
    network.load_state_dict({**{name: own[name] for name in counters}, **state})


def _some(names: list[str], most: int = 4) -> str:
    shown = ", ".join(names[:most]) or "nothing"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
