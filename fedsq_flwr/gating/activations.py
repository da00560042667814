"""Which calls are piecewise-linear activations, and the table of regimes of each.

A gate says in which regime an element of the structural copy is; the quantitative copy gets the slope and the offset
of that regime. At a bend the regime is the one whose slope torch uses as its derivative, so that the dual copy equals
the plain network in its gradients too. One call is an exception: `clamp` between two tensors, whose derivative at
either bound is 1/2 in torch and 0 here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fedsq_flwr.gating.packed.regimes import RELU, Regimes


@dataclass(frozen=True)
class Activation:
    """One call of a piecewise-linear activation.

    Attributes
    ----------
    value : Tensor
        Its input ``z``.
    regimes : Regimes
        Slopes and offsets.
    marks : callable, optional
        Maps ``z`` to marks, whose signs say the regimes (see `packed.regimes`); by default the output is the marks.
    slope : Tensor, optional
        The slope that learns, broadcastable to ``value``.
    in_place : bool
        Whether the output replaces ``z``.
    """

    value: Tensor
    regimes: Regimes
    marks: Callable[[Tensor], Tensor] | None = None
    slope: Tensor | None = None
    in_place: bool = False


def _slope_at_bound(call: Callable[[Tensor], Tensor]) -> float:
    """Return torch's derivative of ``call`` at its bound, which is 0. Versions of torch differ in it."""
    with torch.inference_mode(False), torch.enable_grad():
        at = torch.zeros(1, requires_grad=True)
        (slope,) = torch.autograd.grad(call(at), at)
    return float(slope)


#: Derivatives where the input equals the bound: of a clamp by a number, of one by a tensor, and of fmax and fmin.
_AT_NUMBER = _slope_at_bound(lambda at: at.clamp(min=0.0))
_AT_TENSOR = _slope_at_bound(lambda at: at.clamp(min=torch.zeros(1)))
_AT_FMAX = _slope_at_bound(lambda at: torch.fmax(at, torch.zeros(1)))


# A reader has the signature of torch's call. It returns None if the call is not piecewise linear in one activation.
_Reader = Callable[..., Activation | None]


def _relu(input: Tensor, inplace: bool = False) -> Activation:
    return Activation(input, RELU, in_place=inplace)


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Activation:
    return Activation(input, Regimes((1.0, float(negative_slope)), (0.0, 0.0)), _is_positive, in_place=inplace)


def _prelu(input: Tensor, weight: Tensor) -> Activation:
    per_channel = (1, -1, *[1] * (input.dim() - 2)) if input.dim() > 1 else (-1,)
    slope = weight.reshape(per_channel) if weight.dim() != input.dim() else weight
    return Activation(input, Regimes((1.0, None), (0.0, 0.0)), _is_positive, slope)


def _threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Activation:
    return Activation(input, Regimes((1.0, 0.0), (0.0, float(value))), lambda z: z > threshold, in_place=inplace)


def _hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Activation:
    regimes = Regimes((1.0, 0.0, 0.0), (0.0, float(min_val), float(max_val)))
    return Activation(input, regimes, lambda z: _marks(z > min_val, z >= max_val), in_place=inplace)


def _relu6(input: Tensor, inplace: bool = False) -> Activation:
    return _hardtanh(input, 0.0, 6.0, inplace)


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Activation:
    regimes = Regimes((1.0, 0.0, 0.0), (3.0, 0.0, 6.0), divisor=6.0)
    return Activation(input, regimes, lambda z: _marks(z > -3, z >= 3), in_place=inplace)


def _hardshrink(input: Tensor, lambd: float = 0.5) -> Activation:
    return Activation(input, RELU, lambda z: (z > lambd) | (z < -lambd))


def _softshrink(input: Tensor, lambd: float = 0.5) -> Activation:
    regimes = Regimes((1.0, 0.0, 1.0), (-float(lambd), 0.0, float(lambd)))
    return Activation(input, regimes, lambda z: _marks(z > lambd, z < -lambd))


def _abs(input: Tensor) -> Activation:
    return Activation(input, Regimes((1.0, 0.0, -1.0), (0.0, 0.0, 0.0)), torch.sign)


def _clamp(input: Tensor, min: object = None, max: object = None) -> Activation | None:
    low = -math.inf if min is None else _constant(min, input)
    high = math.inf if max is None else _constant(max, input)
    if low is None or high is None or low > high:
        return None
    if math.isinf(low) or math.isinf(high):
        by_tensor = isinstance(min, Tensor) or isinstance(max, Tensor)
        bound, above = (low, True) if math.isinf(high) else (high, False)
        return _bounded(input, bound, above=above, at_bound=_AT_TENSOR if by_tensor else _AT_NUMBER)
    regimes = Regimes((1.0, 0.0, 0.0), (0.0, low, high))
    if _AT_NUMBER == 1 and not isinstance(min, Tensor):
        return Activation(input, regimes, lambda z: _marks(z >= low, z > high))
    return Activation(input, regimes, lambda z: _marks(z > low, z >= high))


def _clamp_min(input: Tensor, min: object) -> Activation | None:
    return _clamp(input, min=min)


def _clamp_max(input: Tensor, max: object) -> Activation | None:
    return _clamp(input, max=max)


def _maximum(input: Tensor, other: Tensor) -> Activation | None:
    return _of_two(input, other, above=True, at_bound=0.5)


def _minimum(input: Tensor, other: Tensor) -> Activation | None:
    return _of_two(input, other, above=False, at_bound=0.5)


def _fmax(input: Tensor, other: Tensor) -> Activation | None:
    return _of_two(input, other, above=True, at_bound=_AT_FMAX)


def _fmin(input: Tensor, other: Tensor) -> Activation | None:
    return _of_two(input, other, above=False, at_bound=_AT_FMAX)


def _max(input: Tensor, other: object = None, *more: object, **named: object) -> Activation | None:
    return None if more or named or not isinstance(other, Tensor) else _maximum(input, other)  # over a dimension


def _min(input: Tensor, other: object = None, *more: object, **named: object) -> Activation | None:
    return None if more or named or not isinstance(other, Tensor) else _minimum(input, other)


def _marks(first: Tensor, third: Tensor) -> Tensor:
    """Return the marks of three regimes; an element of ``third`` may be of ``first`` too."""
    return first.to(torch.int8) - 2 * third.to(torch.int8)


def _is_positive(value: Tensor) -> Tensor:
    return value > 0


def _of_two(input: Tensor, other: Tensor, *, above: bool, at_bound: float) -> Activation | None:
    """Return the larger (or smaller) of an input and a constant, which may be either of the two."""
    for value, bound, first in ((input, other, True), (other, input, False)):
        constant = _constant(bound, value)
        if constant is not None:
            # Where the slopes of both are 1 and 0, the first one has 1.
            own = at_bound if at_bound == 0.5 or first else 1 - at_bound
            return _bounded(value, constant, above=above, at_bound=own)
    return None


def _bounded(value: Tensor, bound: float, *, above: bool, at_bound: float) -> Activation:
    """Return a value that is kept on one side of a bound: its slope there is 1, on the other side 0."""
    if at_bound == 0.5:
        regimes = Regimes((1.0, 0.0, 0.5), (0.0, bound, bound / 2))
        return Activation(value, regimes, lambda z: _marks(z > bound if above else z < bound, z == bound))
    compare = {(True, 1.0): torch.ge, (True, 0.0): torch.gt, (False, 1.0): torch.le, (False, 0.0): torch.lt}
    marks = compare[above, at_bound]
    return Activation(value, Regimes((1.0, 0.0), (0.0, bound)), lambda z: marks(z, bound))


def _constant(bound: object, value: Tensor) -> float | None:
    """Return a bound of ``value`` that is one number for all elements and does not learn; None for any other."""
    if isinstance(bound, Tensor):
        if isinstance(bound, nn.Parameter) or bound.requires_grad or bound.numel() == 0 or bound.dim() > value.dim():
            return None
        if torch.result_type(value, bound) != value.dtype:
            return None
        if bound.numel() > 1 and bound.shape != value.shape:
            return None
        one = bound.flatten()[0]
        return float(one.to(value.dtype)) if bool((bound == one).all()) else None
    return float(bound) if isinstance(bound, int | float) and not math.isnan(bound) else None


def _readers() -> dict[Callable[..., Any], tuple[_Reader, bool]]:
    """Return every form (function, method, in place) of the activations -> its reader, and whether it is in place."""
    names: dict[str, _Reader] = {
        "relu": _relu, "relu6": _relu6, "hardtanh": _hardtanh, "hardsigmoid": _hardsigmoid,
        "leaky_relu": _leaky_relu, "prelu": _prelu, "threshold": _threshold, "hardshrink": _hardshrink,
        "softshrink": _softshrink, "abs": _abs, "absolute": _abs, "clamp": _clamp, "clip": _clamp,
        "clamp_min": _clamp_min, "clamp_max": _clamp_max, "maximum": _maximum, "minimum": _minimum,
        "fmax": _fmax, "fmin": _fmin, "max": _max, "min": _min,
    }  # fmt: skip
    return {
        getattr(place, spelling): (reader, spelling.endswith("_"))
        for name, reader in names.items()
        for spelling in (name, f"{name}_")
        for place in (F, torch, Tensor, torch._C._nn)
        if hasattr(place, spelling)
    }


#: Calls of piecewise-linear activations -> how their arguments are read, and whether they are in place by name.
ACTIVATIONS: Mapping[Callable[..., Any], tuple[_Reader, bool]] = MappingProxyType(_readers())


def read_activation(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Activation | None:
    """Return what a call of one of the `ACTIVATIONS` is; None if it is not piecewise linear in one activation.

    It is not if a bound is another activation, learns, or differs between elements; or if the values are integers.
    """
    reader, in_place = ACTIVATIONS[func]
    if "out" in kwargs:
        return None
    with torch._C.DisableTorchFunction():  # reading bounds is no call of the network: outer modes must not see it
        call = reader(*args, **kwargs)
    if call is None or not call.value.is_floating_point():
        return None
    return replace(call, in_place=True) if in_place else call
