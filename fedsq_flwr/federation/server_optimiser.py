"""Server optimisers: Flower's FedAvgM and FedAdam, on parameters only, and kept for a resumed run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvgM, Strategy
from torch import Tensor

from fedsq_flwr.federation.replies import copy_reply
from fedsq_flwr.flower_internals import FedOpt, aggregate_arrayrecords


class ServerOptimiser(Strategy):
    """FedAvgM, FedAdam or another `FedOpt` on some arrays; the others are averaged beside it.

    Flower's server optimisers take the silos' mean step for a gradient, of every array alike. A running
    variance that is moved with momentum, or by Adam's normalised steps, can fall below zero, and the network
    is not a number then. So running statistics are averaged, as FedAvg does it (our choice).

    Parameters
    ----------
    inner : FedAvgM or FedOpt
        Moves the parameters.
    parameters : sequence of str
        Names of the arrays that it moves.

    Notes
    -----
    Each step is taken from what was sent. (Flower's FedAvgM goes on from its own last result, which differs
    where something else is sent: after rounds in which only the head learns.)
    """

    def __init__(self, inner: FedAvgM | FedOpt, parameters: Sequence[str]) -> None:
        self.inner = inner
        self.parameters = list(parameters)
        self.weighted_by_key = inner.weighted_by_key

    def summary(self) -> None:
        """Log the settings of the optimiser."""
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the optimiser choose silos; it will step from the parameters among ``arrays``."""
        messages = self.inner.configure_train(server_round, arrays, config, grid)
        sent = {name: arrays[name] for name in self.parameters}
        if isinstance(self.inner, FedAvgM):
            self.inner.current_arrays = ArrayRecord(sent)
        else:
            self.inner.current_arrays = {name: array.numpy() for name, array in sent.items()}
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Move the parameters by the optimiser, and average the other arrays."""
        replies = list(replies)
        moving = [copy_reply(reply, arrays=self.parameters) for reply in replies]
        moved, metrics = self.inner.aggregate_train(server_round, moving)
        if moved is None:
            return None, metrics
        averaged = aggregate_arrayrecords([reply.content for reply in replies], self.weighted_by_key)
        return ArrayRecord({name: moved.get(name, array) for name, array in averaged.items()}), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the optimiser choose the silos that evaluate."""
        return self.inner.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Let the optimiser aggregate what the silos measured."""
        return self.inner.aggregate_evaluate(server_round, replies)

    def state(self) -> dict[str, Tensor]:
        """Return what the optimiser remembers: its moments, each array of them by ``moment/name``."""
        return {
            f"{moment}/{name}": torch.from_numpy(array)
            for moment, arrays in self._moments().items()
            for name, array in arrays.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` returned after the round before.

        Raises
        ------
        ValueError
            If it is another optimiser's, or one's of other arrays.
        """
        for moment in self._moments_kept():
            arrays = {
                name: state[f"{moment}/{name}"].numpy() for name in self.parameters if f"{moment}/{name}" in state
            }
            if list(arrays) != self.parameters:
                raise ValueError(f"the server optimiser's {moment} is of other arrays than those that it moves")
            setattr(self.inner, moment, list(arrays.values()) if isinstance(self.inner, FedAvgM) else arrays)

    def _moments_kept(self) -> list[str]:
        """Return the names of what the optimiser keeps from round to round, as attributes of Flower's."""
        if isinstance(self.inner, FedAvgM):
            return ["momentum_vector"] if self.inner.server_momentum > 0 else []
        return ["m_t", "v_t"]

    def _moments(self) -> dict[str, dict[str, Any]]:
        moments = {moment: getattr(self.inner, moment) for moment in self._moments_kept()}
        return {
            moment: dict(zip(self.parameters, value, strict=True)) if isinstance(value, list) else value
            for moment, value in moments.items()
            if value is not None
        }
