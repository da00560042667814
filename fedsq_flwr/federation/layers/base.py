"""A layer of a strategy: it wraps another strategy, and by itself passes everything on to it.

A layer takes the replies of a round one at a time: `Layer.begin`, `Layer.add` for each reply, `Layer.finish`. So what
is at the bottom can sum replies as they come, and need hold none of them; see `one_at_a_time`.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from fedsq_flwr.federation.asked import Asked
from fedsq_flwr.federation.layers.one_at_a_time import Aggregated, Kind, TakesReplies, one_at_a_time
from fedsq_flwr.federation.protocol import WEIGHT


@runtime_checkable
class Remembering(Protocol):
    """A strategy that remembers more than the model from round to round, which a resumed run goes on with."""

    def state(self) -> dict[str, Tensor]:
        """Return what is remembered; empty if nothing."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` returned after the round before."""
        ...


class Layer(Strategy):
    """A strategy around another one, which it leaves as it is.

    Subclasses override `configure`, `begin`, `add` and `finish`, each for training and evaluation alike.

    Parameters
    ----------
    inner : Strategy
        The strategy below.

    Attributes
    ----------
    messages : dict
        The messages that `configure` returned last, by their kind.
    kind, server_round
        What the exchange is that replies are taken of.
    asked : Asked
        The messages of this exchange.
    """

    def __init__(self, inner: Strategy) -> None:
        self.inner = inner
        self.messages: dict[Kind, list[Message]] = {}
        self.kind: Kind = "train"
        self.server_round = 0
        self.asked = Asked()
        self._below: TakesReplies = one_at_a_time(inner)

    def configure(
        self, kind: Kind, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Return the messages of an exchange: the inner strategy chooses the silos and writes the messages."""
        configure = self.inner.configure_train if kind == "train" else self.inner.configure_evaluate
        self.messages[kind] = list(configure(server_round, arrays, config, grid))
        return self.messages[kind]

    def begin(self, kind: Kind, server_round: int) -> None:
        """Begin to take the replies of an exchange, whose messages have been sent."""
        self.kind, self.server_round = kind, server_round
        self.asked = Asked(self.messages.get(kind, ()))
        self._below = one_at_a_time(self.inner)
        self._below.begin(kind, server_round)

    def add(self, reply: Message) -> None:
        """Take the next reply."""
        self._below.add(reply)

    def finish(self) -> Aggregated:
        """Return the average of the replies, and their aggregated metrics."""
        return self._below.finish()

    def state(self) -> dict[str, Tensor]:
        """Return what the strategies below remember beside the model; empty if nothing."""
        return self.inner.state() if isinstance(self.inner, Remembering) else {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` returned after the round before."""
        if isinstance(self.inner, Remembering):
            self.inner.load_state(state)

    @property
    def bottom(self) -> Strategy:
        """The strategy below all layers."""
        return self.inner.bottom if isinstance(self.inner, Layer) else self.inner

    @property
    def weight_key(self) -> str:
        """The metric that the strategy at the bottom weights replies by."""
        return str(getattr(self.bottom, "weighted_by_key", WEIGHT))

    def summary(self) -> None:
        """Log the settings of the inner strategy."""
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the messages of a round of training."""
        return self.configure("train", server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregated:
        """Take all replies of a round of training, one at a time, and return the average and the metrics."""
        return self._aggregate("train", server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the messages of a round's evaluation."""
        return self.configure("evaluate", server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Take all replies of a round's evaluation, one at a time, and return the metrics."""
        return self._aggregate("evaluate", server_round, replies)[1]

    def _aggregate(self, kind: Kind, server_round: int, replies: Iterable[Message]) -> Aggregated:
        self.begin(kind, server_round)
        for reply in replies:
            self.add(reply)
        return self.finish()
