"""Server optimisers, FedAvgM and FedAdam for two, move parameters only; running statistics are averaged.

Flower's server optimisers take the silos' mean step for a gradient, of every array alike. A running variance that is
moved with momentum, or by Adam's normalised steps, can fall below zero; the network's output is then not a number.
So running statistics are averaged, as FedAvg does it (our choice).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvgM
from torch import Tensor

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.arrays import record_of
from fedsq_flwr.federation.contents import array_records, metric_records
from fedsq_flwr.federation.layers.base import Layer
from fedsq_flwr.federation.layers.one_at_a_time import Aggregated, Kind, WeightedSum
from fedsq_flwr.federation.replies import copy_reply
from fedsq_flwr.flower_internals import FedOpt

#: The last parts of the names that torch gives to running statistics.
STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})


class ServerOptimiser(Layer):
    """A server optimiser of Flower's, on parameters only; what it remembers survives a resumed run.

    Parameters
    ----------
    optimiser : FedAvgM or FedOpt
        Moves the parameters.

    Notes
    -----
    Each step is taken from what was sent. (Flower's FedAvgM goes on from its own last result, which differs where
    something else is sent: after rounds of linear probing.)
    """

    def __init__(self, optimiser: FedAvgM | FedOpt) -> None:
        super().__init__(optimiser)
        self._optimiser = optimiser
        self._names: list[str] = []
        self._statistics = WeightedSum()
        self._loaded: dict[str, Tensor] | None = None  # until the names of the parameters are known

    def configure(
        self, kind: Kind, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Let the optimiser choose silos; it will step from the parameters among ``arrays``.

        Raises
        ------
        RunFailedError
            If what it was to go on with is another optimiser's, or one's of other arrays.
        """
        messages = super().configure(kind, server_round, arrays, config, grid)
        if kind == "train":
            self._names = list(arrays)
            self._restore(arrays)
            sent = {name: arrays[name] for name in self._parameters()}
            if isinstance(self._optimiser, FedAvgM):
                self._optimiser.current_arrays = record_of(sent)
            else:
                self._optimiser.current_arrays = {name: array.numpy() for name, array in sent.items()}
        return messages

    def begin(self, kind: Kind, server_round: int) -> None:
        """Begin without any statistics."""
        super().begin(kind, server_round)
        self._statistics = WeightedSum()

    def add(self, reply: Message) -> None:
        """Pass the parameters of a reply to training on, and keep its statistics."""
        if self.kind == "train" and reply.has_content():
            (arrays,), (metrics,) = array_records(reply.content).values(), metric_records(reply.content).values()
            statistics = {name: array for name, array in arrays.items() if is_statistic(name)}
            self._statistics.add(statistics, float(metrics[self.weight_key]))  # type: ignore[arg-type]
            reply = copy_reply(reply, arrays=self._parameters())
        super().add(reply)

    def finish(self) -> Aggregated:
        """Return the parameters as the optimiser moved them, with the averaged statistics."""
        moved, metrics = super().finish()
        if moved is None:
            return None, metrics
        arrays = {**moved, **self._statistics.mean()}
        self._statistics = WeightedSum()
        return record_of({name: arrays[name] for name in self._names if name in arrays}), metrics

    def state(self) -> dict[str, Tensor]:
        """Return what the optimiser remembers: its moments, each array of them by ``moment/name``."""
        if self._loaded is not None:
            return dict(self._loaded)
        return {
            f"{moment}/{name}": torch.from_numpy(array)
            for moment, arrays in self._moments().items()
            for name, array in arrays
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` returned after the round before; `configure` checks that it fits the arrays."""
        self._loaded = dict(state)

    def _parameters(self) -> list[str]:
        return [name for name in self._names if not is_statistic(name)]

    def _restore(self, sent: ArrayRecord) -> None:
        """Give the optimiser the moments that were loaded, if any were, now that the arrays are known."""
        if self._loaded is None:
            return
        loaded, self._loaded = self._loaded, None
        wanted = {name: tuple(sent[name].shape) for name in self._parameters()}
        for moment in self._moment_names():
            found = {name: loaded[f"{moment}/{name}"].numpy() for name in wanted if f"{moment}/{name}" in loaded}
            if {name: array.shape for name, array in found.items()} != wanted:
                raise RunFailedError(f"the server optimiser's {moment} is of other arrays than those that it moves")
            setattr(self._optimiser, moment, list(found.values()) if isinstance(self._optimiser, FedAvgM) else found)

    def _moment_names(self) -> list[str]:
        """Return the names of what the optimiser keeps from round to round, as attributes of Flower's."""
        if isinstance(self._optimiser, FedAvgM):
            return ["momentum_vector"] if self._optimiser.server_momentum > 0 else []
        return ["m_t", "v_t"]

    def _moments(self) -> dict[str, Iterable[tuple[str, Any]]]:
        kept = {moment: getattr(self._optimiser, moment) for moment in self._moment_names()}
        return {
            moment: zip(self._parameters(), value, strict=True) if isinstance(value, list) else value.items()
            for moment, value in kept.items()
            if value is not None
        }


def is_statistic(name: str) -> bool:
    """Tell whether ``name`` is that of a running statistic, as torch names them."""
    return name.rpartition(".")[2] in STATISTICS
