"""A bad reply costs one reply, by name; too few good ones end the run.

Flower's own averaging takes NaN arrays and weights as they come, broadcasts wrong shapes, and ends a whole run for
one missing key. When no reply is usable it keeps the old model, and the run counts as completed.
"""

import logging
from collections.abc import Collection, Mapping
from types import MappingProxyType

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.exchange import Exchange
from fedsq_flwr.federation.faults import Expectation, abstains, describe_arrays, find_fault
from fedsq_flwr.federation.layers.base import Aggregated, Kind, Layer
from fedsq_flwr.federation.protocol import FINGERPRINT, ROUND
from fedsq_flwr.federation.registry import NodeRegistry

log = logging.getLogger(__name__)

_NOTHING = Expectation(0, "", {}, "")


class Screening(Layer):
    """Lets through replies that are what was asked for, and keeps account of the others.

    Parameters
    ----------
    inner : Strategy
        Chooses the silos, and averages the replies that can be used.
    registry : NodeRegistry
        Knows which node is which silo.
    metrics : mapping of str to collection of str
        Metrics that a reply to ``train`` and to ``evaluate`` must have to be used, each a number.
    min_replies : int
        Fewest usable replies of a round of training.

    Attributes
    ----------
    exchanges : dict
        What came of the last exchange of either kind.
    """

    def __init__(
        self,
        inner: Strategy,
        registry: NodeRegistry,
        *,
        metrics: Mapping[str, Collection[str]] = MappingProxyType({}),
        min_replies: int = 1,
    ) -> None:
        if min_replies < 1:
            raise ValueError(f"min_replies={min_replies}: must be at least 1")
        super().__init__(inner)
        self.registry = registry
        self.metrics = metrics
        self.min_replies = min_replies
        self.exchanges: dict[Kind, Exchange] = {"train": Exchange(), "evaluate": Exchange()}
        self._expected: dict[Kind, Expectation] = {"train": _NOTHING, "evaluate": _NOTHING}
        self._unanswered: set[int] = set()

    def configure(
        self, kind: Kind, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Have each message name its round, and note whom the messages go to."""
        messages = super().configure(kind, server_round, arrays, ConfigRecord({**config, ROUND: server_round}), grid)
        self.registry.know((message.metadata.dst_node_id for message in messages), grid)
        self.exchanges[kind] = self._open_exchange(kind)
        self._expected[kind] = Expectation(
            server_round,
            str(config.get(FINGERPRINT, "")),
            describe_arrays(arrays) if kind == "train" else {},
            self.weight_key,
            self.metrics.get(kind, ()),
        )
        return messages

    def begin(self, kind: Kind, server_round: int) -> None:
        """Begin with every silo's reply missing."""
        super().begin(kind, server_round)
        self.exchanges[kind] = self._open_exchange(kind)
        self._unanswered = set(self.exchanges[kind].sampled)

    def add(self, reply: Message) -> None:
        """Pass ``reply`` on if it can be used.

        A silo that holds no samples out answers an evaluation with weight 0. It does not count as asked.
        """
        node, source = self.asked.node(reply), reply.metadata.src_node_id
        silo = None if node is None else self.registry.silo(node)
        if silo is None or silo not in self._unanswered:
            log.warning("round %d: node %d answered what it was not asked, or twice", self.server_round, source)
            return
        self._unanswered.remove(silo)
        exchange = self.exchanges[self.kind]
        if self.kind == "evaluate" and abstains(reply, self.weight_key):
            exchange.sampled.remove(silo)
            return
        fault = find_fault(reply, self._expected[self.kind])
        if reply.has_content() and source != node:  # Flower's own errors come from the server
            fault = f"was answered for by node {source}"
        if fault is not None:
            self._drop(silo, fault)
            return
        exchange.metrics[silo] = dict(next(iter(reply.content.metric_records.values())))
        super().add(reply)

    def finish(self) -> Aggregated:
        """Let the inner strategy average what was let through; evaluation without any usable reply gives nothing.

        Raises
        ------
        RunFailedError
            If fewer than ``min_replies`` replies of a round of training are usable.
        """
        for silo in sorted(self._unanswered):
            self._drop(silo, "did not answer in time")
        self._unanswered = set()
        exchange = self.exchanges[self.kind]
        usable = len(exchange.metrics)
        if self.kind == "train" and usable < self.min_replies:
            raise RunFailedError(
                f"round {self.server_round}: {usable} usable replies of {len(exchange.sampled)}, "
                f"min_replies={self.min_replies} ({exchange.reasons()})"
            )
        return super().finish() if usable else (None, None)

    def _open_exchange(self, kind: Kind) -> Exchange:
        nodes = [message.metadata.dst_node_id for message in self.messages.get(kind, ())]
        return Exchange(sampled=sorted(map(self.registry.silo, nodes)))

    def _drop(self, silo: int, reason: str) -> None:
        self.exchanges[self.kind].dropped[silo] = reason
        log.warning("round %d: silo %d is left out: it %s", self.server_round, silo, reason)
