"""A probe that tests whether a network is affine once its gates are fixed; no list of refused calls is complete.

Under fixed gates a ReLU network is affine in its images, and each of its layers is affine in each of its
parameters. Therefore f((a + b) / 2) = (f(a) + f(b)) / 2. Other operations (``x * x``, ``1 / x``, ``x * (x > 0)``, a
ReLU inside a kernel, a normalised weight) break this equation.

The probe demands slightly more than the theory: a product of two branches is affine in each layer alone but not in
the images, and is refused. The probe tests random directions, so it gives evidence and no proof. The probe is our
choice; the abstract of FedSQ has no such check.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.gating.packed.calls import Gate
from fedsq_flwr.gating.probe.layers import check_parameters
from fedsq_flwr.gating.probe.sketch import Event, all_between, watched
from fedsq_flwr.gating.record import record
from fedsq_flwr.gating.replay import GateMismatchError, Replaying
from fedsq_flwr.gating.support import refusal

#: How far an image is moved: out of every linear regime, or only a little if the network then takes another branch.
_STEPS = (100.0, 1e-3)


def check_affine(dual: DualCopy, images: Tensor) -> None:
    """Refuse a network that is not affine under fixed gates, or whose gates depend on more than the image.

    Use it once, before you train a network of your own. It costs about a dozen forward passes of two images in
    double precision, on a copy on the CPU. ``dual`` and torch's generator are not changed.

    Parameters
    ----------
    dual : DualCopy
        The network, on any device, in any mode.
    images : Tensor
        At least two images ``(N, C, H, W)``, of which the first two are used; they may be random.

    Raises
    ------
    UnsupportedActivationError
        Names the innermost layer whose output is not affine in its input or in a parameter, mixes the
        images of a batch, draws random numbers, or differs from call to call.
    ValueError
        If there are fewer than two images, or they are not finite.
    """
    if len(images) < 2 or not images[:2].isfinite().all():
        raise ValueError(f"images: {tuple(images.shape)}; the probe needs at least two, with finite values")
    pair = images[:2].detach().to("cpu", torch.float64)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        # Winners are fixed here even if `pool_gates` is off: then pooling is not affine by the user's choice.
        gates, _ = record(_exact(dual.structural), pair.clone(), pool_gates=True)
        network = _exact(dual.quantitative)
        start = _run(network, gates, pair)
        _check_chance(start, _run(network, gates, pair))
        end, middle = _moved_runs(network, gates, pair, start)
        _check_batch(start, end)
        for a, b, half in zip(start, end, middle, strict=True):
            if not all_between(a.sketches, b.sketches, half.sketches):
                raise refusal(a.layer, "is not affine in its input once its gates are fixed")
        check_parameters(network, pair)


def _exact(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).to("cpu", torch.float64).eval()


def _run(network: nn.Module, gates: Sequence[Gate], images: Tensor) -> list[Event]:
    with watched(network) as events, Replaying(gates, pool_gates=True):
        network(images.clone())
    return events


def _moved_runs(
    network: nn.Module, gates: Sequence[Gate], pair: Tensor, start: Sequence[Event]
) -> tuple[list[Event], list[Event]]:
    """Run with the second image moved, and moved half as far. The unmoved first image shows whether images mix."""
    noise = torch.randn(pair.shape[1:], generator=torch.Generator().manual_seed(0), dtype=pair.dtype)
    for step in _STEPS:
        moved = torch.stack([pair[0], pair[1] + step * noise])
        try:
            end, middle = (_run(network, gates, images) for images in (moved, (pair + moved) / 2))
        except GateMismatchError:
            continue
        if _form(start) == _form(end) == _form(middle):
            return end, middle
    raise refusal(
        type(network).__name__, f"takes another branch when an image is moved by {_STEPS[-1]}, so it cannot be probed"
    )


def _form(events: Sequence[Event]) -> list[tuple[str, int]]:
    return [(event.layer, len(event.sketches)) for event in events]


def _check_chance(start: Sequence[Event], again: Sequence[Event]) -> None:
    for a, b in zip(start, again, strict=False):
        if a.drawn:
            raise refusal(a.layer, "draws random numbers in evaluation mode, so that gates would depend on chance")
        if not all(math.isfinite(sketch.scale) for sketch in a.sketches):
            raise refusal(a.layer, "gives values that are not finite")
        if _form([a]) != _form([b]) or not all_between(a.sketches, a.sketches, b.sketches):
            raise refusal(
                a.layer, "differs from call to call in evaluation mode, so that gates would depend on chance"
            )


def _check_batch(start: Sequence[Event], end: Sequence[Event]) -> None:
    mixed = [
        a.layer
        for a, b in zip(start, end, strict=True)
        if not all(x.first_agrees(y) for x, y in zip(a.sketches, b.sketches, strict=True))
    ]
    # The first dimension of an inner layer's output need not be that of the images; that of the logits is.
    if mixed and not all(x.first_agrees(y) for x, y in zip(start[-1].sketches, end[-1].sketches, strict=True)):
        raise refusal(mixed[0], "mixes the images of a batch, so that an image's gates would depend on its batch")
