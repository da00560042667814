"""Loading a file's tensors into a network: all of them, or an error.

Names that the network does not have are adapted only where that is common and unambiguous (our choice): prefixes
of wrappers that every name carries, the head's name, and the names of DenseNet's layers from before torch forbade
dots in names. Whatever was adapted is reported.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.torch_files import read_tensors

#: Prefixes that DataParallel, Lightning and other wrappers, and torch.compile put before every name.
PREFIXES = ("module.", "model.", "backbone.", "_orig_mod.", "net.", "network.", "encoder.")

#: Names of the last layer in files of image classifiers.
HEADS = ("fc", "linear", "classifier", "classifier.6", "head")

#: GoogLeNet's auxiliary classifiers, which only its own training used.
AUXILIARY = ("aux1.", "aux2.")

_OLD_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")


@dataclass(frozen=True)
class LoadReport:
    """How a file of weights was fitted to a network. Names are the network's, unless said otherwise.

    Attributes
    ----------
    loaded : int
        Number of tensors that were loaded.
    prefix : str
        Prefix that was removed from every name in the file.
    renamed : tuple of (str, str)
        Names in the file (without the prefix) and in the network.
    left_out : tuple of str
        Tensors of the file that were not loaded: a head of another size, auxiliary classifiers.
    head : str
        ``loaded``; ``other size`` or ``absent``, where the network keeps its own head; ``none`` where no head
        was named.
    classes : int or None
        Outputs of the file's head, if it was found.
    counters : int
        Number of ``num_batches_tracked`` that the file lacks; evaluation does not use them.
    converted : tuple of str
        Floating-point dtypes in the file that differ from the network's.
    """

    loaded: int
    prefix: str
    renamed: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    head: str
    classes: int | None
    counters: int
    converted: tuple[str, ...]

    @property
    def adapted(self) -> list[str]:
        """What was adapted, in words; empty if the file fitted as it was."""
        told = []
        if self.prefix:
            told.append(f"prefix {self.prefix} removed")
        if self.renamed:
            told.append(f"renamed {some(f'{old} -> {new}' for old, new in self.renamed)}")
        if self.left_out:
            told.append(f"left out {some(self.left_out)}")
        if self.head in ("absent", "other size"):
            told.append(f"head {self.head}" + (f" ({self.classes} classes)" if self.classes is not None else ""))
        if self.counters:
            told.append(f"{self.counters} num_batches_tracked absent")
        if self.converted:
            told.append(f"converted from {', '.join(self.converted)}")
        return told


def load_weights(network: nn.Module, path: Path, *, head: str | None = None) -> LoadReport:
    """Load the weights and statistics of ``network`` from a file.

    Parameters
    ----------
    network : nn.Module
        Unchanged if the file does not fit.
    path : Path
        A file that `read_tensors` reads.
    head : str, optional
        Name of the last layer. The file may lack this layer, or hold it under another name or in another
        size; where it is absent or of another size, the network keeps its own, and the report says so.
        Without ``head`` every tensor must be there.

    Raises
    ------
    WeightsError
        If the file cannot be read, or a name is missing or unknown, or a shape or the kind of numbers differs, or
        a value is not finite in the network's dtype, or a variance is below 0 or all are 0; the message names the
        tensors. ``num_batches_tracked`` may be absent.
    """
    stored, own = read_tensors(path), network.state_dict()
    prefix = common_prefix(stored.keys(), own.keys())
    state = {name.removeprefix(prefix): tensor for name, tensor in stored.items()}
    changes = renamed(state.keys(), own.keys(), head)
    state = {changes.get(name, name): tensor for name, tensor in state.items()}

    its_head, own_head = _within(state, head), _within(own, head)
    fits = {n: t.shape for n, t in its_head.items()} == {n: t.shape for n, t in own_head.items()}
    kept = set() if fits else set(own_head)
    left_out = [name for name in state if name.startswith(AUXILIARY) and name not in own]
    left_out += [] if fits else list(its_head)
    state = {name: tensor for name, tensor in state.items() if name not in left_out}

    counters = {name for name in own if name.endswith("num_batches_tracked")} - state.keys()
    fitted = _fitted(f"weights file {path}", state, {n: t for n, t in own.items() if n not in kept}, counters)
    network.load_state_dict({**own, **fitted})
    weight = its_head.get(f"{head}.weight")
    return LoadReport(
        loaded=len(state),
        prefix=prefix,
        renamed=tuple(changes.items()),
        left_out=tuple(left_out),
        head="none" if head is None else "loaded" if fits else "other size" if its_head else "absent",
        classes=None if weight is None or weight.dim() == 0 else len(weight),
        counters=len(counters),
        converted=tuple(sorted({str(t.dtype) for n, t in state.items() if t.dtype != own[n].dtype})),
    )


def common_prefix(names: Collection[str], own: Set[str]) -> str:
    """Return the prefix that all ``names`` carry and the network's names ``own`` do not.

    It consists of `PREFIXES`, each any number of times.
    """
    prefix = ""
    while names and not any(name.removeprefix(prefix) in own for name in names):
        found = [p for p in PREFIXES if all(name.startswith(prefix + p) for name in names)]
        if not found:
            break
        prefix += found[0]
    return prefix


def renamed(names: Collection[str], own: Set[str], head: str | None) -> dict[str, str]:
    """Return name in the file -> name in the network, for each of ``names`` that differs in the network.

    Parameters
    ----------
    names : collection of str
        Names in the file, without the common prefix.
    own : set of str
        The network's names.
    head : str or None
        The network's name of its head.
    """
    changes = {}
    for name in names:
        new = _OLD_DENSE_LAYER.sub(r"\1\2.", name)
        if new != name and new in own and new not in names:
            changes[name] = new
    if head is not None and f"{head}.weight" not in names:
        other = [h for h in HEADS if f"{h}.weight" in names and f"{h}.weight" not in own]
        if len(other) == 1:
            parts = (part for part in ("weight", "bias") if f"{other[0]}.{part}" in names)
            changes |= {f"{other[0]}.{part}": f"{head}.{part}" for part in parts}
    return changes


def some(names: Iterable[str], most: int = 4) -> str:
    """List the first ``most`` of ``names`` and count the others."""
    listed = list(names)
    shown = ", ".join(listed[:most]) or "nothing"
    return shown if len(listed) <= most else f"{shown} and {len(listed) - most} more"


def _within(state: Mapping[str, Tensor], module: str | None) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if module is not None and name.startswith(f"{module}.")}


def _fitted(
    what: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor], optional: set[str]
) -> dict[str, Tensor]:
    """Return ``state`` in the dtypes of ``own``, or raise the error that names what does not fit."""
    missing, unknown = sorted(own.keys() - state.keys() - optional), sorted(state.keys() - own.keys())
    if missing or unknown:
        raise WeightsError(f"{what}: missing {some(missing)}, unknown {some(unknown)}")
    return {name: _converted(what, name, tensor, own[name]) for name, tensor in state.items()}


def _converted(what: str, name: str, tensor: Tensor, own: Tensor) -> Tensor:
    if tensor.shape != own.shape:
        raise WeightsError(f"{what}: '{name}' has shape {tuple(tensor.shape)}, not {tuple(own.shape)}")
    if _kind(tensor.dtype) != _kind(own.dtype):
        raise WeightsError(f"{what}: '{name}' is {tensor.dtype}, not {own.dtype}")
    try:
        values = tensor.to(own.dtype)
    except RuntimeError as error:  # two numbers packed in a byte, among others
        raise WeightsError(f"{what}: '{name}' is {tensor.dtype}, which does not become {own.dtype}") from error
    if not torch.isfinite(values).all():
        raise WeightsError(f"{what}: '{name}' holds values that are not finite as {own.dtype}")
    if name.rpartition(".")[2] == "running_var" and values.numel():
        # Either silently makes every later gate wrong: a NaN is not above 0.
        if (values < 0).any():
            raise WeightsError(f"{what}: '{name}' holds values below 0, and no variance is")
        if not values.any():
            raise WeightsError(f"{what}: '{name}' is 0 everywhere, and so no variance of images")
    return values


def _kind(dtype: torch.dtype) -> str:
    """Return the kind of a dtype; conversion within a kind changes only the precision."""
    if dtype.is_floating_point:
        return "floating"
    if dtype.is_complex:
        return "complex"
    return "bool" if dtype == torch.bool else "integer"
