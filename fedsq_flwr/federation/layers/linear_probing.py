"""Linear probing in the first rounds: only the head learns, and the body keeps every bit."""

from collections.abc import Collection

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.arrays import record_of
from fedsq_flwr.federation.layers.base import Layer
from fedsq_flwr.federation.layers.one_at_a_time import Aggregated, Kind
from fedsq_flwr.federation.protocol import HEAD_ONLY


class LinearProbing(Layer):
    """Tells silos to train the head only, and puts the body back that was sent.

    An average of equal values need not be equal, and a server optimiser moves what it likes; so the body is not taken
    from the average at all.

    Parameters
    ----------
    inner : Strategy
        Chooses the silos and averages.
    rounds : int
        First rounds in which only the head learns.
    head : collection of str
        Names of the head's arrays (`QuantitativeCopy.head_state`).
    """

    def __init__(self, inner: Strategy, rounds: int, head: Collection[str]) -> None:
        if rounds and not head:
            raise ValueError(f"linear_probing_rounds={rounds}: needs the names of the head's arrays")
        super().__init__(inner)
        self.rounds = rounds
        self.head = frozenset(head)
        self._sent = ArrayRecord()

    def configure(
        self, kind: Kind, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Say in the messages of the first rounds of training that only the head learns.

        Raises
        ------
        RunFailedError
            If the arrays lack the head's.
        """
        if kind == "train":
            self._sent = ArrayRecord()
        if kind == "train" and server_round <= self.rounds:
            if not self.head <= arrays.keys():
                raise RunFailedError(f"round {server_round}: the arrays lack {sorted(self.head - arrays.keys())}")
            self._sent = arrays
            config = ConfigRecord({**config, HEAD_ONLY: True})
        return super().configure(kind, server_round, arrays, config, grid)

    def finish(self) -> Aggregated:
        """Return the average, in the first rounds with the body that was sent."""
        averaged, metrics = super().finish()
        if averaged is None or self.kind == "evaluate" or self.server_round > self.rounds:
            return averaged, metrics
        body = self._sent.keys() - self.head
        arrays = {name: self._sent[name] if name in body else array for name, array in averaged.items()}
        return record_of(arrays), metrics
