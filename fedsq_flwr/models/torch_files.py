"""Reading files of weights in the formats that others publish: safetensors, and those of `torch.save`."""

import hashlib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.weights import SUFFIX, read_weights

#: Suffixes of files that `torch.save` wrote: the hub uses ``.bin``, Lightning ``.ckpt``, torch's own examples
#: ``.pth.tar``.
TORCH_SUFFIXES = (".pth", ".pt", ".th", ".bin", ".ckpt", ".tar")

#: Names under which checkpoints of training programs hold the network's tensors. The first of them that leads to
#: tensors counts; an exponential moving average does only where the network itself is not in the file.
NESTED = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module",
    "ema", "model_ema", "ema_state_dict", "state_dict_ema",
)  # fmt: skip
_DEEPEST = 4  # mappings in one another, such as model -> state_dict; a pickled one may even hold itself

# In what torch says about a file that it does not unpickle.
_CULPRIT = re.compile(r"GLOBAL (\S+) (?:was not an allowed|whose module)")
_REASON = re.compile(r"WeightsUnpickler error:\s*(.+)", re.DOTALL)
_NO_PICKLE = "Unsupported operand"
_LONGEST = 100  # characters of what torch, or a hostile file, says


def is_weights_file(path: Path) -> bool:
    """Tell whether ``path`` ends as a file of weights does, in whatever case."""
    return path.suffix.lower() in (SUFFIX, *TORCH_SUFFIXES)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of ``path`` to the CPU; the suffix says which format the file has.

    Only tensors and plain containers are unpickled (``weights_only``). If a checkpoint holds more than the
    network's tensors, the part under the first of `NESTED` that leads to tensors is taken.

    Raises
    ------
    WeightsError
        If the file is missing, cannot be read, or holds something other than named tensors with values:
        sparse, quantised, nested and meta tensors are refused by name.
    """
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist")
    if not is_weights_file(path):
        raise WeightsError(f"weights file {path}: must end in {', '.join((SUFFIX, *TORCH_SUFFIXES))}")
    state = read_weights(path)[0] if path.suffix.lower() == SUFFIX else _read_torch(path)
    for name, tensor in state.items():
        unlike = _unlike_values(tensor)
        if unlike:
            raise WeightsError(f"weights file {path}: '{name}' {unlike}")
    return state


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():  # about rare kinds of tensors and files, which are refused below
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load of a damaged file may raise almost anything
        raise WeightsError(
            f"weights file {path} cannot be read as tensors alone, without running code: {_why(error)}"
        ) from error
    state = _innermost(content)
    if not isinstance(state, Mapping):
        raise WeightsError(f"weights file {path} holds a {type(state).__name__}, not tensors by name")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            under = f"; the network's may lie under {', '.join(NESTED)}" if isinstance(tensor, Mapping) else ""
            raise WeightsError(
                f"weights file {path}: {name!r:.100} is a {type(tensor).__name__}, not a tensor by name{under}"
            )
    return {name: tensor.detach() for name, tensor in state.items()}


def _why(error: Exception) -> str:
    """Return in a few words what torch says at length, and what can be done about it."""
    said = str(error)
    culprit = _CULPRIT.search(said)
    if culprit is not None:
        return (
            f"it holds a {_one_line(culprit[1])}, which is no tensor; whoever trusts the file can save its tensors "
            'alone: content = torch.load(FILE, weights_only=False), then torch.save(content["state_dict"], OTHER), '
            "or content.state_dict() if content is a whole network"
        )
    if _NO_PICKLE in said or isinstance(error, EOFError):
        return "it is not, or not wholly, what torch.save writes"
    reason = _REASON.search(said)
    return _one_line(said if reason is None else reason[1]) or type(error).__name__


def _one_line(text: str) -> str:
    """Return the first sentence of ``text``, without the control characters that colour it."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in plain).split())
    return words.partition(". ")[0][:_LONGEST]


def _innermost(content: Any) -> Any:
    """Return the mapping of tensors within ``content``, or what stands in its place."""
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        nested = [content[key] for key in NESTED if isinstance(content.get(key), Mapping)]
        if not nested:
            break
        content = next(filter(_leads_to_tensors, nested), nested[0])
    return content


def _leads_to_tensors(content: Mapping[Any, Any], deep: int = 1) -> bool:
    if any(isinstance(value, Tensor) for value in content.values()):
        return True
    nested = [content[key] for key in NESTED if isinstance(content.get(key), Mapping)]
    return deep < _DEEPEST and any(_leads_to_tensors(value, deep + 1) for value in nested)


def _unlike_values(tensor: Tensor) -> str:
    """Say in what ``tensor`` differs from an array of values in memory; empty if it does not."""
    if tensor.is_nested:
        return "is a nested tensor, whose rows differ in length"
    if tensor.layout is not torch.strided:
        return f"is a sparse tensor ({tensor.layout}); save it as tensor.to_dense()"
    if tensor.is_quantized:
        return f"is quantised ({tensor.dtype}); save it as tensor.dequantize()"
    if tensor.device.type != "cpu":
        return f"holds no values: its device is {tensor.device}"
    return ""
