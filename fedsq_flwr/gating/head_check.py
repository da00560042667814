"""Whether the head comes last: the fingerprint does not cover it, so no gate may depend on it.

The structural pass is run once with NaN in place of the head's values. Whatever depends on them becomes NaN, however
the network uses them: through views, ``.data``, ``state_dict()`` or a number read from them.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fedsq_flwr.gating.fingerprint import gate_tensors
from fedsq_flwr.gating.record import Recording
from fedsq_flwr.gating.support import UnsupportedActivationError, calling_layer, refusal, tensors_of


def check_head(network: nn.Module, images: Tensor, *, head: str | None, named: bool, pool_gates: bool) -> str | None:
    """Refuse a head that gates depend on, or that is not where the pass ends.

    Parameters
    ----------
    network : nn.Module
        The structural copy.
    images : Tensor
        For one pass.
    head : str or None
        The head.
    named : bool
        Whether somebody has named it; else it is the last linear layer that is registered.
    pool_gates : bool
        Whether max-pooling winners are gates.

    Returns
    -------
    str or None
        Why there is no fingerprint, if there is just no head: the last layer is followed by a ReLU.

    Raises
    ------
    UnsupportedActivationError
        Names the head and the layer whose gates depend on it. Gates within functions compiled by `torch.compile` are
        refused too.
    """
    kind = type(network).__name__
    fault = f"head={head!r}" if named else f"'{head}', the last linear layer that {kind} registers, is not its head"
    advice = "name the head by `head=`"
    with _nan_in_the_head(network, head) as found:
        without_head = _Tracing.of(network, images, pool_gates)
    last, layers = without_head.layer, dict(network.named_modules())
    end = layers.get(last or "")
    if not named and isinstance(end, nn.Linear) and end.weight is not layers[head or ""].weight:  # it may be tied
        raise UnsupportedActivationError(f"{fault}: the forward pass ends with '{last}'; {advice}")
    if found and not without_head.reaches_output:
        raise UnsupportedActivationError(f"{fault}: the output does not depend on it; {advice}")
    # A gate may be NaN for other reasons, such as weights that have diverged.
    if without_head.nan_gate is None or _Tracing.of(network, images, pool_gates).nan_gate is not None:
        return None
    fault = f"{fault}: the gates of layer '{without_head.nan_gate}' depend on it; {advice}"
    if named or last != head:
        raise UnsupportedActivationError(fault)
    return f"{fault}, or there is no fingerprint"


@contextmanager
def _nan_in_the_head(network: nn.Module, head: str | None) -> Iterator[bool]:
    """Put NaN in place of what the fingerprint does not cover; yield whether there is anything."""
    covered = {id(tensor) for _, tensor in gate_tensors(network, head=head)}
    places: list[tuple[dict[str, Any], str, Tensor]] = [
        (held, name, tensor)
        for module in network.modules()
        for held in (module._parameters, module._buffers)
        for name, tensor in held.items()
        if tensor is not None and id(tensor) not in covered and tensor.is_floating_point()
    ]
    try:
        for held, name, tensor in places:
            nan = torch.full_like(tensor, torch.nan)
            held[name] = nn.Parameter(nan, requires_grad=False) if isinstance(tensor, nn.Parameter) else nan
        yield bool(places)
    finally:
        for held, name, tensor in places:
            held[name] = tensor


class _Tracing(Recording):
    """Find the first gate whose input is NaN, and refuse gates within compiled code."""

    nan_gate: str | None = None
    reaches_output = False

    @classmethod
    def of(cls, network: nn.Module, images: Tensor, pool_gates: bool) -> "_Tracing":
        tracing = cls(network, pool_gates=pool_gates)
        with torch.no_grad(), tracing:
            output: object = network(images.nan_to_num())
        tracing.reaches_output = any(bool(tensor.isnan().any()) for tensor in tensors_of(output))
        return tracing

    def begin_gate(self, value: Tensor) -> str | None:
        if _is_within_compiled_code():
            raise refusal(calling_layer(self.network), "has gates within a function compiled by torch.compile")
        layer = super().begin_gate(value)
        if self.nan_gate is None and value.isnan().any():
            self.nan_gate = calling_layer(self.network)
        return layer


def _is_within_compiled_code() -> bool:
    """Return whether the pass is within a function that `torch.compile` made."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not check_head.__code__:
        in_dynamo = frame.f_globals.get("__name__") == "torch._dynamo.eval_frame"
        if in_dynamo and type(frame.f_locals.get("self")).__name__ == "OptimizeContext":
            return True
        frame = frame.f_back
    return False
