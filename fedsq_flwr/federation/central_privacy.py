"""Differential privacy at the server: each silo's update is clipped, and noise is added to their mean.

Flower's wrappers do both, around the strategy that averages. What protects is the noise, so it does not come from
numpy's global generator, as Flower's does, but from a `Randomness`: the operating system's, or a simulation's seed.

The unit is a silo, and neighbours differ in one silo, which is replaced. The mean of m updates, each of norm at most
the clip, then changes by at most ``2 clip / m``. The noise has the standard deviation ``noise_multiplier clip / m``.
So its multiplier, as accountants count it, is half of ``noise_multiplier``.
"""

import copy
import logging
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import singledispatch

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message
from flwr.common import NDArray
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    Strategy,
)
from torch import Tensor

from fedsq_flwr.federation.contents import array_records
from fedsq_flwr.federation.layers.base import Layer
from fedsq_flwr.federation.layers.one_at_a_time import Aggregated, Kind
from fedsq_flwr.federation.replies import copy_reply
from fedsq_flwr.learning.randomness import Randomness, SystemRandomness, normal
from fedsq_flwr.privacy.accounting import Mechanism
from fedsq_flwr.privacy.ledger import Ledger
from fedsq_flwr.settings import method
from fedsq_flwr.settings.base import Settings

log = logging.getLogger(__name__)

_CLIP = "privacy/clip"


class _OwnNoise:
    """Has a wrapper of Flower's draw its noise from ``randomness``."""

    randomness: Randomness = SystemRandomness()
    noise_multiplier: float
    clipping_norm: float
    num_sampled_clients: int

    def _add_noise_to_aggregated_arrays(self, aggregated: ArrayRecord) -> ArrayRecord:
        std = self.noise_multiplier * self.clipping_norm / self.num_sampled_clients
        return ArrayRecord({name: Array(self._noised(array.numpy(), std)) for name, array in aggregated.items()})

    def _noised(self, values: NDArray, std: float) -> NDArray:
        noise = normal(self.randomness, values.size).numpy().reshape(values.shape)
        return np.asarray(values + std * noise, values.dtype)


class FixedClipping(_OwnNoise, DifferentialPrivacyServerSideFixedClipping):
    """Flower's fixed clipping, with noise of our own randomness."""


class AdaptiveClipping(_OwnNoise, DifferentialPrivacyServerSideAdaptiveClipping):
    """Flower's adaptive clipping, with noise of our own randomness and two corrections.

    Flower 1.42 moves the clip away from the quantile: it lowers the clip where too many updates are clipped. And it
    takes the noise of a round from the clip of the next one.
    """

    _next_clip = 0.0

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregated:
        """Clip and average as Flower does; the clip changes once the noise is added."""
        aggregated = super().aggregate_train(server_round, replies)
        self.clipping_norm = self._next_clip
        return aggregated

    def _noisy_fraction(self, count: int, total: int) -> float:
        return (count + self.clipped_count_stddev * float(normal(self.randomness, 1))) / total

    def _geometric_update(self, clipped_fraction: float) -> None:
        too_many_left = (1 - clipped_fraction) - self.target_clipped_quantile
        self._next_clip = self.clipping_norm * math.exp(-self.clip_norm_lr * too_many_left)


class PrivateMean(Layer):
    """A wrapper of Flower's that gets one update of every silo that was asked, and a ledger that counts its rounds.

    The noise is that of as many updates as there are. So that their number tells nothing, a silo whose reply cannot
    be used counts as one that did not move the model. Its stand-in moves one weight by one rounding error, because
    Flower divides by the norm of an update; so do those of silos that answer with what they were sent.

    Parameters
    ----------
    settings : ClippedUpdates
        The clip, the noise and what epsilon depends on.
    averaging : Strategy
        Averages the clipped updates.
    ledger : Ledger
        Is charged before the noise is drawn.
    randomness : callable
        Returns the source of the noise of a round.
    """

    def __init__(
        self,
        settings: method.ClippedUpdates,
        averaging: Strategy,
        ledger: Ledger,
        randomness: Callable[[int], Randomness],
    ) -> None:
        self._wrapper = build_wrapper(settings, averaging)
        super().__init__(self._wrapper)
        self._settings = settings
        self._ledger = ledger
        self._randomness = randomness
        self._sent = ArrayRecord()
        self._silos = 0  # that those of the round were drawn from
        self._first: Message | None = None
        self._taken = 0

    def configure(
        self, kind: Kind, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Note how many silos are asked, and of how many: of two counts the smaller, since silos come and go."""
        if kind == "evaluate":
            return super().configure(kind, server_round, arrays, config, grid)
        before = len(list(grid.get_node_ids()))
        messages = super().configure(kind, server_round, arrays, config, grid)
        self._silos = max(len(messages), min(before, len(list(grid.get_node_ids()))))
        self._sent = arrays
        return messages

    def begin(self, kind: Kind, server_round: int) -> None:
        """Begin without any update."""
        super().begin(kind, server_round)
        self._first, self._taken = None, 0

    def add(self, reply: Message) -> None:
        """Pass an update on, with the weight that every update has."""
        if self.kind == "train" and reply.has_content():
            self._taken += 1
            reply = copy_reply(reply, weight=(self.weight_key, 1))
            self._first = self._first or reply
            (arrays,) = array_records(reply.content).values()
            if _distance(arrays, self._sent) == 0:
                reply = self._unmoved(reply)
        super().add(reply)

    def finish(self) -> Aggregated:
        """Return the mean of the clipped updates with noise, once the ledger has counted the round.

        Raises
        ------
        PrivacyError
            If the round would exceed ``method.max_epsilon``.
        """
        if self.kind == "evaluate" or self._first is None:
            return super().finish()
        asked = len(self.asked.messages)
        for _ in range(asked - self._taken):
            stand_in = self._unmoved(copy_reply(self._first, metrics=()))
            super().add(copy_reply(stand_in, weight=(self.weight_key, 1)))
        settings = self._settings
        spent = self._ledger.charge(
            "silo",
            Mechanism(settings.noise_multiplier / 2, asked / self._silos, self._silos),
            1,
            delta=settings.delta,
            limit=sys.float_info.max if settings.max_epsilon is None else settings.max_epsilon,
            setting="method.max_epsilon",
        )
        log.info(
            "privacy: epsilon %.4g is spent (unit silo, delta %g), clip %.4g",
            spent.epsilon,
            spent.delta,
            self._wrapper.clipping_norm,
        )
        self._wrapper.num_sampled_clients = asked
        self._wrapper.randomness = self._randomness(self.server_round)
        return super().finish()

    def state(self) -> dict[str, Tensor]:
        """Return the clip of the next round."""
        return {_CLIP: torch.tensor([self._wrapper.clipping_norm], dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the clip that `state` returned after the round before."""
        if _CLIP in state:
            self._wrapper.clipping_norm = float(state[_CLIP])

    def _unmoved(self, reply: Message) -> Message:
        """Return a reply like ``reply`` that is what was sent, but for one rounding error in one weight."""
        arrays = {name: array.numpy() for name, array in self._sent.items()}
        name = next(name for name, values in arrays.items() if values.size and values.dtype.kind == "f")
        values = arrays[name].copy()
        values.flat[0] += np.finfo(values.dtype).eps * max(1.0, abs(values.flat[0]))
        unmoved = copy.copy(reply)
        content = copy.copy(reply.content)
        (key,) = array_records(content)
        content[key] = ArrayRecord({each: Array(values if each == name else arrays[each]) for each in arrays})
        unmoved.content = content
        return unmoved


@singledispatch
def build_wrapper(settings: Settings, averaging: Strategy) -> FixedClipping | AdaptiveClipping:
    """Return the wrapper that the settings ask for, around the strategy that averages."""
    raise NotImplementedError(f"no wrapper is registered for {type(settings).__name__}")


@build_wrapper.register
def _(settings: method.FixedClipping, averaging: Strategy) -> FixedClipping:
    return FixedClipping(averaging, settings.noise_multiplier, settings.clip, 1)


@build_wrapper.register
def _(settings: method.AdaptiveClipping, averaging: Strategy) -> AdaptiveClipping:
    return AdaptiveClipping(
        averaging,
        settings.noise_multiplier,
        1,
        initial_clipping_norm=settings.clip,
        target_clipped_quantile=settings.target_quantile,
        clip_norm_lr=settings.clip_learning_rate,
        clipped_count_stddev=settings.count_noise,
    )


def _distance(arrays: ArrayRecord, sent: ArrayRecord) -> float:
    """Return the norm of an update as Flower computes it."""
    norms = [np.linalg.norm(np.subtract(array.numpy(), sent[name].numpy()).flat) for name, array in arrays.items()]
    return math.sqrt(sum(float(norm) ** 2 for norm in norms))
