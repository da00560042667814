"""Sketches of tensors: the probe keeps a sketch of every layer's input and output instead of the tensor.

A sketch is one fixed linear functional of a tensor's values. It is affine where the tensor is, and, apart from
coincidences, only there. The activations of a large network themselves would take gigabytes.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedsq_flwr.gating.support import tensors_of

_GOLDEN_RATIO = 0.6180339887498949  # its multiples, modulo 1, have no period, unlike strides and shapes


@dataclass(frozen=True)
class Sketch:
    """A tensor in four numbers.

    Attributes
    ----------
    value, first : float
        The functional of the whole tensor, and of its first half, which is the first image of two.
    scale : float
        The tensor's Euclidean norm.
    precision : float
        Rounding unit of its dtype.
    """

    value: float
    first: float
    scale: float
    precision: float

    @classmethod
    def of(cls, tensor: Tensor) -> "Sketch":
        """Return the sketch of a floating-point tensor of any shape."""
        values = tensor.detach().to(torch.float64).flatten()
        weights = torch.arange(1, len(values) + 1, dtype=torch.float64).mul_(_GOLDEN_RATIO).frac_()
        half = len(values) // 2
        first = float(values[:half].dot(weights[:half]))
        value = first + float(values[half:].dot(weights[half:]))
        return cls(value, first, math.sqrt(float(values.dot(values))), torch.finfo(tensor.dtype).eps)

    def is_between(self, a: "Sketch", b: "Sketch") -> bool:
        """Return whether this is the midpoint of ``a`` and ``b``, up to rounding; False for NaN."""
        return abs((a.value + b.value) / 2 - self.value) <= self._slack(abs(a.value - b.value), a, b)

    def first_agrees(self, other: "Sketch") -> bool:
        """Return whether the first halves are equal, up to rounding."""
        return abs(self.first - other.first) <= self._slack(0.0, self, other)

    def _slack(self, moved: float, *others: "Sketch") -> float:
        # Half the digits of the movement; all digits of the values except four, which long sums may lose.
        scale = max(self.scale, *(other.scale for other in others))
        return math.sqrt(self.precision) * moved + 1e4 * self.precision * scale


def all_between(a: Sequence[Sketch], b: Sequence[Sketch], middle: Sequence[Sketch]) -> bool:
    """Return whether each sketch of ``middle`` is the midpoint of its partners in ``a`` and ``b``, up to rounding."""
    return all(half.is_between(x, y) for x, y, half in zip(a, b, middle, strict=True))


@dataclass(frozen=True)
class Event:
    """The tensors of one input or output of a layer, and the layer whose code made them.

    Attributes
    ----------
    layer : str
        For an input, the layer that makes the call; for an output, the called layer.
    sketches : tuple of Sketch
        Sketches of the floating-point tensors.
    drawn : bool
        Whether random numbers have been drawn from torch's generator since the pass began.
    """

    layer: str
    sketches: tuple[Sketch, ...]
    drawn: bool


@contextmanager
def watched(network: nn.Module) -> Iterator[list[Event]]:
    """Record, in order of time, the inputs and outputs of all layers of ``network``.

    If an event is the first with some property, the code of its own layer caused it, not that of a layer within.
    """
    events: list[Event] = []
    open_layers: list[str] = []
    names = {module: name or type(network).__name__ for name, module in network.named_modules()}
    generator = torch.get_rng_state()

    def note(layer: str, *values: Any) -> None:  # sketched now: the next layer may write to them
        sketches = tuple(Sketch.of(tensor) for tensor in tensors_of(values))
        events.append(Event(layer, sketches, not torch.equal(generator, torch.get_rng_state())))

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        note(open_layers[-1] if open_layers else names[module], args, kwargs)
        open_layers.append(names[module])

    def after(_module: nn.Module, _args: Any, output: Any) -> None:
        note(open_layers.pop(), output)

    handles = []
    for module in names:
        handles.append(module.register_forward_pre_hook(before, prepend=True, with_kwargs=True))
        handles.append(module.register_forward_hook(after))
    try:
        yield events
    finally:
        for handle in handles:
            handle.remove()
