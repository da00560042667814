"""The passes of the probe under fixed gates: of a pair of images, and of the pair with one image moved."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedsq_flwr.gating.packed.calls import Gate
from fedsq_flwr.gating.probe.sketch import Event, all_between, watched
from fedsq_flwr.gating.replay import Replaying
from fedsq_flwr.gating.support import GateMismatchError, refusal

#: How far an image is moved: out of every linear regime, or only a little if the network then takes another branch.
_STEPS = (100.0, 1e-3)


@dataclass(frozen=True)
class Passes:
    """Passes of one network under the gates of one pair of images.

    Attributes
    ----------
    network : nn.Module
        The quantitative copy, in double precision.
    gates : sequence of Gate
        All gates of the pair.
    pair : Tensor
        Two images ``(2, C, H, W)`` in double precision.
    seed : int
        With which torch's generator starts each pass.
    """

    network: nn.Module
    gates: Sequence[Gate]
    pair: Tensor
    seed: int = 0

    def run(self, images: Tensor | None = None) -> list[Event]:
        """Run the network and return what its layers take and give."""
        torch.default_generator.manual_seed(self.seed)  # no other device's: nothing would restore those
        with watched(self.network) as events, Replaying(self.gates, pool_gates=True, network=self.network):
            self.network((self.pair if images is None else images).clone())
        return events

    def check_affine(self, start: Sequence[Event], mode: str = "") -> None:
        """Refuse a network that is not affine in its images, or mixes them. ``start`` is what `run` has returned.

        Raises
        ------
        UnsupportedActivationError
            Names the innermost layer at fault, and the ``mode`` in which it is.
        """
        end, middle = self._moved(start, mode)
        _check_mixing(start, end, mode)
        for a, b, half in zip(start, end, middle, strict=True):
            if not all_between(a.sketches, b.sketches, half.sketches):
                raise refusal(a.layer, f"is not affine in its input{mode} once its gates are fixed")

    def _moved(self, start: Sequence[Event], mode: str) -> tuple[list[Event], list[Event]]:
        """Run with the second image moved, and moved half as far. The first one shows whether images mix."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(self.pair.shape[1:], generator=generator, dtype=self.pair.dtype)
        for step in _STEPS:
            moved = torch.stack([self.pair[0], self.pair[1] + step * noise])
            try:
                end, middle = self.run(moved), self.run((self.pair + moved) / 2)
            except GateMismatchError:
                continue
            if form(start) == form(end) == form(middle):
                return end, middle
        raise refusal(
            type(self.network).__name__,
            f"takes another branch{mode} when an image is moved by {_STEPS[-1]}, so it cannot be probed",
        )


def form(events: Sequence[Event]) -> list[tuple[str, int]]:
    """Return which layers have taken or given how many tensors."""
    return [(event.layer, len(event.sketches)) for event in events]


def differing(events: Sequence[Event], others: Sequence[Event]) -> str | None:
    """Return the innermost layer that takes or gives something else in the second pass; None without any."""
    for a, b in zip(events, others, strict=False):
        if form([a]) != form([b]) or not all_between(a.sketches, a.sketches, b.sketches):
            return a.layer
    longer = max(events, others, key=len)
    return longer[min(len(events), len(others))].layer if len(events) != len(others) else None


def _check_mixing(start: Sequence[Event], end: Sequence[Event], mode: str) -> None:
    mixed = [
        a.layer
        for a, b in zip(start, end, strict=True)
        if not all(x.first_agrees(y) for x, y in zip(a.sketches, b.sketches, strict=True))
    ]
    # The first dimension of an inner layer's output need not be that of the images; that of the logits is.
    if mixed and not all(x.first_agrees(y) for x, y in zip(start[-1].sketches, end[-1].sketches, strict=True)):
        raise refusal(
            mixed[0], f"mixes the images of a batch{mode}, so that an image's gates would depend on its batch"
        )
