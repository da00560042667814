"""The part of the probe that tests whether a network computes the same in all circumstances.

The structural copy runs in evaluation mode, without gradients, on frozen parameters, and perhaps in another batch.
Its gates fit a quantitative copy that takes the same way in training mode, with gradients, in any batch, in any call.
Dropout may differ: it is off in the structural copy, and draws random numbers in training mode.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedsq_flwr.gating.activations import ACTIVATIONS
from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.gating.independence import SMALLEST_BATCH
from fedsq_flwr.gating.packed.calls import ActivationGate
from fedsq_flwr.gating.probe.passes import Passes, differing
from fedsq_flwr.gating.probe.sketch import Event
from fedsq_flwr.gating.support import GateMismatchError, UnsupportedActivationError, refusal, tensors_of
from fedsq_flwr.models.batch_norm import apply_policy

_SEEDS = (0, 1, 2)


def check_memory(dual: DualCopy, images: Tensor) -> None:
    """Refuse a network whose passes in evaluation mode write to its own tensors.

    Raises
    ------
    UnsupportedActivationError
        Names the layer and the tensor.
    """
    before = {name: tensor.clone() for name, tensor in dual.structural_state().items()}
    dual.calls(images)
    for name, tensor in dual.structural_state().items():
        if name not in before or not torch.equal(before[name], tensor):
            layer, _, own = name.rpartition(".")
            raise refusal(
                layer or type(dual.structural).__name__,
                f"writes to its tensor '{own}' in evaluation mode, so that gates would depend on earlier passes",
            )


def check_calls(passes: Passes, start: Sequence[Event]) -> None:
    """Refuse a network that draws random numbers in evaluation mode, or differs from call to call.

    Raises
    ------
    UnsupportedActivationError
        Names the innermost layer at fault.
    """
    for event in start:
        if event.drawn:
            raise refusal(
                event.layer, "draws random numbers in evaluation mode, so that gates would depend on chance"
            )
        if not all(math.isfinite(sketch.scale) for sketch in event.sketches):
            raise refusal(event.layer, "gives values that are not finite")
    layer = differing(start, passes.run())
    if layer is not None:
        raise refusal(layer, "differs from call to call in evaluation mode, so that gates would depend on chance")


def check_gradients(passes: Passes, start: Sequence[Event]) -> None:
    """Refuse a network that computes something else with gradients, or on parameters that learn.

    Parameters
    ----------
    passes : Passes
        Of a network whose parameters learn.
    start : sequence of Event
        What `Passes.run` has returned without gradients, while no parameter learnt.

    Raises
    ------
    UnsupportedActivationError
        Names the innermost layer at fault.
    """
    with torch.enable_grad(), _told(passes, "with gradients"):
        layer = differing(start, passes.run())
    if layer is not None:
        raise refusal(layer, "computes something else with gradients than without")


def check_training(passes: Passes, start: Sequence[Event]) -> None:
    """Refuse a network that computes something else in training mode, apart from dropout and batch norm.

    What draws random numbers there may differ, as dropout does, but must be affine and take the same branch.

    Raises
    ------
    UnsupportedActivationError
        Names the innermost layer at fault.
    """
    apply_policy(passes.network.train(), "frozen")
    for module in passes.network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    with torch.enable_grad(), _told(passes, "in training mode"):
        training = passes.run()
        until = next((place for place, event in enumerate(training) if event.drawn), None)
        layer = differing(start[:until], training[:until])
        if layer is not None:
            raise refusal(layer, "computes something else in training mode than in evaluation mode")
        for seed in _SEEDS if until is not None else ():  # chance may hide that images are mixed
            drawing = replace(passes, seed=seed)
            drawing.check_affine(drawing.run(), " in training mode")
    passes.network.eval()


def check_batches(dual: DualCopy, image: Tensor) -> None:
    """Refuse a network that takes another way in a batch of another size, in the precision of ``image``.

    The image is passed alone and repeated. Values that differ in all sizes pass: they are computed with the size, not
    chosen by it. The dual copy is right for them in every batch, and the gate cache refuses to hold their gates.

    Raises
    ------
    UnsupportedActivationError
        Names the layer at fault.
    """
    generator = torch.get_rng_state()
    found, taken, tolerance = [], [], math.sqrt(torch.finfo(image.dtype).eps)
    for size in (1, 2, SMALLEST_BATCH):
        images = image.expand(size, *image.shape[1:])
        try:
            found.append(_let_through(dual, images))
        except UnsupportedActivationError:
            raise
        except (RuntimeError, ValueError, IndexError):  # what does not take a batch says so by itself
            continue
        taken.append(images)
    if not taken:
        return
    again = _let_through(dual, taken[0])
    if again != found[0] or not torch.equal(generator, torch.get_rng_state()):  # chance; `check_calls` says so
        return
    if any([layer for layer, _ in each] != [layer for layer, _ in found[0]] for each in found):
        raise refusal(type(dual.structural).__name__, "takes another branch in a batch of another size")
    for of_layer in zip(*found, strict=True):
        layer, values = of_layer[0][0], [value for _, value in of_layer]
        alike = [sum(math.isclose(a, b, rel_tol=tolerance) for b in values) for a in values]
        if 1 < max(alike) < len(values):
            raise refusal(layer, "computes something else in a batch of another size")


def _let_through(dual: DualCopy, images: Tensor) -> list[tuple[str, float]]:
    """Return, per image, what each activation gives in sum, with its layer, and the sum of the absolute outputs.

    A sum over all axes does not depend on which of them is the images'.
    """
    with _Summing() as summing:
        calls, output = dual.calls(images)
    layers = [gate.layer or "" for gate in calls if isinstance(gate, ActivationGate)]
    of_this_pass = summing.sums[
        len(summing.sums) - len(layers) :
    ]  # the first one is preceded by that of `check_head`
    outputs = [float(tensor.abs().sum(dtype=torch.float64)) for tensor in tensors_of(output)]
    named = [*zip(layers, of_this_pass, strict=True), *((type(dual.structural).__name__, each) for each in outputs)]
    return [(layer, total / len(images)) for layer, total in named]


class _Summing(TorchFunctionMode):
    """Sum the output of each activation of a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.sums: list[float] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in ACTIVATIONS:
            self.sums.append(float(result.sum(dtype=torch.float64)))
        return result


@contextmanager
def _told(passes: Passes, circumstances: str) -> Iterator[None]:
    """Turn a mismatch of gates into a refusal."""
    try:
        yield
    except GateMismatchError as error:
        raise refusal(type(passes.network).__name__, f"takes another branch {circumstances} ({error})") from error
