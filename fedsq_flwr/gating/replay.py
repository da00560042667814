"""The quantitative pass: run a network with every gate replaced by the recorded one.

Exactness (METHOD: equal at the start, to the bit). A ReLU's forward and backward both become
``threshold_backward(value, source, 0)``, which passes a value where the source is positive and puts an
exact +0 elsewhere: just what torch's own ReLU does in its backward pass. Max-pooling becomes a gather of
the winners, whose backward pass adds gradients where ``max_pool``'s does.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fedsq_flwr.gating.record import Gate, PoolGate, ReluGate, split_return_indices
from fedsq_flwr.gating.support import MAX_POOLS, RELUS


class GateMismatchError(RuntimeError):
    """The quantitative pass asked for other gates than were recorded: it took another branch."""


class _GateInPlace(torch.autograd.Function):
    """Gate a tensor in place, as an in-place ReLU would, keeping the network's aliasing as it is."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, source: Tensor) -> Tensor:
        ctx.mark_dirty(value)
        ctx.save_for_backward(source)
        torch.ops.aten.threshold_backward.grad_input(value, source, 0, grad_input=value)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (source,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, source, 0), None


class Replaying(TorchFunctionMode):
    """Apply recorded gates, in call order, to a pass through the quantitative copy.

    Raises
    ------
    GateMismatchError
        When a call asks for a gate of another kind or shape than was recorded at its place, or when the
        pass ends with gates left over.
    """

    def __init__(self, gates: Sequence[Gate], *, pool_gates: bool) -> None:
        super().__init__()
        self._gates = gates
        self._next = 0
        self._pool_gates = pool_gates
        self._grad_enabled = torch.is_grad_enabled()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Intercept one call of torch."""
        kwargs = kwargs or {}
        if func in RELUS:
            value = args[0] if args else kwargs["input"]
            in_place = RELUS[func] or bool(kwargs.get("inplace", args[1] if len(args) > 1 else False))
            return self._relu(value, in_place=in_place)
        if self._pool_gates and func in MAX_POOLS:
            wants_winners, args, kwargs = split_return_indices(func, args, kwargs)
            value = args[0] if args else kwargs["input"]
            output, winners = self._max_pool(value)
            return (output, winners) if wants_winners else output
        return func(*args, **kwargs)

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """End the pass; every recorded gate must have been used."""
        super().__exit__(exc_type, exc_value, traceback)  # type: ignore[no-untyped-call]
        if exc_type is None and self._next != len(self._gates):
            raise GateMismatchError(
                f"the quantitative pass used {self._next} gates, the structural pass recorded {len(self._gates)}"
            )

    def _take(self, kind: type[Gate]) -> Any:
        if self._grad_enabled and _may_be_checkpointed() and _is_checkpointed():
            raise GateMismatchError(
                "the network uses torch.utils.checkpoint, which would run it again without its gates; switch it off"
            )
        if self._next == len(self._gates):
            raise GateMismatchError(f"the quantitative pass asks for more than the {self._next} recorded gates")
        gate = self._gates[self._next]
        if not isinstance(gate, kind):
            raise GateMismatchError(
                f"gate {self._next}: recorded a {type(gate).__name__}, asked for a {kind.__name__}"
            )
        self._next += 1
        return gate

    def _relu(self, value: Tensor, *, in_place: bool) -> Tensor:
        source = self._take(ReluGate).source
        if source.shape != value.shape:
            raise GateMismatchError(
                f"gate {self._next - 1}: recorded for shape {tuple(source.shape)}, asked for {tuple(value.shape)}"
            )
        if source.dtype != value.dtype:  # autocast, or unpacked gates; torch would promote the value instead
            source = source.to(value.dtype)
        if in_place:
            return _GateInPlace.apply(value, source)  # type: ignore[no-any-return]
        return torch.ops.aten.threshold_backward(value, source, 0)  # type: ignore[no-any-return]

    def _max_pool(self, value: Tensor) -> tuple[Tensor, Tensor]:
        gate = self._take(PoolGate)
        winners, dims = gate.winners, len(gate.plane)
        if (*winners.shape[:-dims], *gate.plane) != value.shape:
            raise GateMismatchError(
                f"gate {self._next - 1}: winners of shape {tuple(winners.shape)} do not fit an input of shape "
                f"{tuple(value.shape)}"
            )
        flat = value.flatten(-dims).gather(-1, winners.flatten(-dims))
        return flat.view(winners.shape), winners


def _may_be_checkpointed() -> bool:
    """Tell cheaply whether gradients are being kept in an unusual way, as activation checkpointing does."""
    return not torch.is_grad_enabled() or torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def _is_checkpointed() -> bool:
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "torch.utils.checkpoint":
            return True
        frame = frame.f_back
    return False
