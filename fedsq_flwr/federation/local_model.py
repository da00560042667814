"""A model that learns from one silo's samples alone, to be compared with the federation's. It never leaves the silo.

It has the federation's start, and in each round that the silo trains in as many steps, at the same learning rate and
under the same structure.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fedsq_flwr.federation.silo import RoundOrders, Silo
from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.models.weights import read_weights, save_weights


@dataclass(frozen=True)
class Standing:
    """The first and the last round that a local model was trained in, and how many there were."""

    first: int
    last: int
    rounds: int


class LocalModel:
    """The local model of a silo in one run, in a file.

    Parameters
    ----------
    path : Path
        The file; without one there, the model starts with the next round.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def train(self, silo: Silo, orders: RoundOrders) -> None:
        """Train for a round, with the silo's model, which holds what the server sent: the start of the first round.

        A round that is trained again, as after a restart, counts once.

        Raises
        ------
        WeightsError
            If the file is damaged.
        OSError
            If it cannot be written.
        """
        before = self.load_into(silo.model)
        if before is not None and before.last >= orders.round:
            return
        silo.learn(orders, alone=True)
        first, rounds = (orders.round, 1) if before is None else (before.first, before.rounds + 1)
        told = {"first": str(first), "last": str(orders.round), "rounds": str(rounds)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(self._path, _state(silo.model), told)

    def load_into(self, model: QuantitativeCopy) -> Standing | None:
        """Load the local model into a copy of the network, and say how far it is; None if there is none yet.

        Raises
        ------
        WeightsError
            If the file is damaged.
        ValueError
            If it is of another network.
        """
        if not self._path.exists():
            return None
        state, told = read_weights(self._path)
        own = model.local_state().keys()
        model.load_quantitative_state({name: tensor for name, tensor in state.items() if name not in own})
        model.load_local_state({name: tensor for name, tensor in state.items() if name in own})
        return Standing(*(int(told[name]) for name in ("first", "last", "rounds")))


def _state(model: QuantitativeCopy) -> dict[str, Tensor]:
    return {**model.quantitative_state(), **model.local_state()}
