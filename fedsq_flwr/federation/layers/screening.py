"""A bad reply costs one reply, by name; too few good ones end the run.

Flower's own averaging takes NaN arrays and weights as they come, broadcasts wrong shapes, and ends a whole run for
one missing key. When no reply is usable it keeps the old model, and the run counts as completed.
"""

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message
from flwr.common import NDArray
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.arrays import is_fortran_ordered, read_values
from fedsq_flwr.federation.contents import array_records, config_records, metric_records
from fedsq_flwr.federation.exchange import Exchange
from fedsq_flwr.federation.faults import Expectation, abstains, describe_arrays, examine
from fedsq_flwr.federation.layers.base import Layer
from fedsq_flwr.federation.layers.one_at_a_time import Aggregated, Kind
from fedsq_flwr.federation.protocol import ARRAYS, FINGERPRINT, HEAD_ONLY, LOSS, ROUND, SETTINGS
from fedsq_flwr.federation.ranges import LARGEST_INTEGER, can_be_averaged
from fedsq_flwr.federation.registry import ANSWER_SECONDS, NodeRegistry
from fedsq_flwr.federation.replies import copy_reply
from fedsq_flwr.federation.update_bound import UpdateBound
from fedsq_flwr.settings.run import MAX_EXAMPLES

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
        Metrics that a reply to ``train`` and to ``evaluate`` must have to be used, each a number within its range.
        Other metrics are ignored. Where none are named for a kind, no reply has to have any, and the inner strategy
        aggregates those that all usable replies have.
    lengths : mapping of str to int
        Which of these metrics are lists, and how long they must be. The inner strategy does not see them.
    min_replies : int
        Fewest usable replies of a round of training.
    max_examples : int
        The most samples that a reply may be of.
    max_update_ratio : float
        The largest update, see `UpdateBound`; 0: no bound.

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
        lengths: Mapping[str, int] = MappingProxyType({}),
        min_replies: int = 1,
        max_examples: int = MAX_EXAMPLES,
        max_update_ratio: float = 0.0,
    ) -> None:
        if min_replies < 1:
            raise ValueError(f"min_replies={min_replies}: must be at least 1")
        if not 1 <= max_examples <= LARGEST_INTEGER:
            raise ValueError(f"max_examples={max_examples}: must be 1 to 2^53")
        super().__init__(inner)
        self.registry = registry
        self.metrics = metrics
        self.lengths = lengths
        self.min_replies = min_replies
        self.max_examples = max_examples
        self.exchanges: dict[Kind, Exchange] = {"train": Exchange(), "evaluate": Exchange()}
        self._expected: dict[Kind, Expectation] = {"train": _NOTHING, "evaluate": _NOTHING}
        self._unanswered: set[int] = set()
        self._weights = 0  # of the replies that were let through, in all
        self._bound = UpdateBound(max_update_ratio)
        self._sent: dict[int, ArrayRecord] = {}  # by node: some strategies send each its own
        self._read: tuple[ArrayRecord, dict[str, NDArray]] = (ArrayRecord(), {})  # the record that was read last

    def configure(
        self, kind: Kind, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Have each message name its round, and note whom the messages go to."""
        messages = super().configure(kind, server_round, arrays, ConfigRecord({**config, ROUND: server_round}), grid)
        nodes = [message.metadata.dst_node_id for message in messages]
        self.registry.know(nodes, grid)
        if SETTINGS in config:  # without them a silo does not know its data
            self.registry.ask_examples(grid, nodes, config, timeout=ANSWER_SECONDS)
        self.exchanges[kind] = self._open_exchange(kind)
        self._expected[kind] = Expectation(
            server_round,
            str(config.get(FINGERPRINT, "")),
            describe_arrays(arrays) if kind == "train" else {},
            self.weight_key,
            self.metrics.get(kind, ()),
            self.lengths if kind == "evaluate" else {},
            array_key=str(getattr(self.bottom, "arrayrecord_key", ARRAYS)),
            fortran=frozenset(name for name, array in arrays.items() if is_fortran_ordered(array)),
            max_examples=self.max_examples,
        )
        if kind == "train":
            self._sent = {
                m.metadata.dst_node_id: next(iter(array_records(m.content).values()), arrays) for m in messages
            }
        return messages

    def begin(self, kind: Kind, server_round: int) -> None:
        """Begin with every silo's reply missing."""
        super().begin(kind, server_round)
        self.exchanges[kind] = self._open_exchange(kind)
        self._unanswered = set(self.exchanges[kind].sampled)
        self._weights = 0
        told = [config for m in self.messages.get(kind, ()) for config in config_records(m.content).values()]
        self._bound.begin("head" if any(config.get(HEAD_ONLY) for config in told) else "all")

    def add(self, reply: Message) -> None:
        """Pass ``reply`` on if it can be used.

        A silo that holds no samples out answers an evaluation with weight 0. It does not count as asked.
        """
        node, source = self.asked.node(reply), reply.metadata.src_node_id
        silo = None if node is None else self.registry.silo(node)
        if node is None or silo is None or silo not in self._unanswered:
            log.warning("round %d: node %d answered what it was not asked, or twice", self.server_round, source)
            return
        self._unanswered.remove(silo)
        exchange, named = self.exchanges[self.kind], self.registry.examples(node, self.kind)
        if self.kind == "evaluate" and not named and abstains(reply, self.weight_key):
            exchange.sampled.remove(silo)
            return
        expected = replace(self._expected[self.kind], examples=named, sent=self._values_sent(node))
        found = examine(reply, expected)
        fault = found.fault
        if reply.has_content() and source != node:  # Flower's own errors come from the server
            fault = f"was answered for by node {source}"
        if fault is None:
            fault = self._find_excess(reply, found.norm)
        if fault is not None:
            self._drop(silo, fault)
            return
        exchange.metrics[silo] = metrics = self._known_metrics(reply)
        self._weights += metrics[self.weight_key]
        if self.kind == "evaluate" and not math.isfinite(metrics.get(LOSS, 0.0)):  # a diverged model is no fault
            log.warning(
                "round %d: silo %d has loss %s, which is not averaged", self.server_round, silo, metrics[LOSS]
            )
            return
        super().add(copy_reply(reply, arrays=expected.arrays or None, metrics=metrics.keys() - self.lengths.keys()))

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
        aggregated = super().finish() if usable else (None, None)
        self._bound.finish()
        self._read = ArrayRecord(), {}
        return aggregated

    def state(self) -> dict[str, Tensor]:
        """Return what updates are compared with, beside what the strategies below remember."""
        return {**self._bound.state(), **super().state()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` returned after the round before."""
        super().load_state(self._bound.load_state(state))

    def _find_excess(self, reply: Message, norm: float) -> str | None:
        """Return whether a reply that is right by itself is too much beside others: its weight, or its update."""
        (record,) = metric_records(reply.content).values()
        weight: Any = record[self.weight_key]
        if self._weights + weight > LARGEST_INTEGER:
            return f"has weight {weight} under '{self.weight_key}', with which the weights of the round exceed 2^53"
        return self._bound.find_fault(norm) if self.kind == "train" else None

    def _values_sent(self, node: int) -> dict[str, NDArray]:
        """Return the floating-point values that a node was sent to train on."""
        if self.kind == "evaluate":
            return {}
        sent = self._sent[node]
        if self._read[0] is not sent:
            known = [name for name in self._expected["train"].arrays if name in sent]
            values = {name: _values_of(sent[name]) for name in known}
            self._read = sent, {name: each for name, each in values.items() if each.dtype.kind == "f"}
        return self._read[1]

    def _known_metrics(self, reply: Message) -> dict[str, Any]:
        """Return the metrics of a usable reply that are used: those that are named, or all that can be averaged."""
        (record,) = metric_records(reply.content).values()
        named = self.metrics.get(self.kind)
        known = {name: record[name] for name in named} if named else dict(record)
        usable = {name: value for name, value in known.items() if named or can_be_averaged(name, value)}
        return {**usable, self.weight_key: record[self.weight_key]}

    def _open_exchange(self, kind: Kind) -> Exchange:
        nodes = [message.metadata.dst_node_id for message in self.messages.get(kind, ())]
        return Exchange(sampled=sorted(map(self.registry.silo, nodes)), names=self.registry.names)

    def _drop(self, silo: int, reason: str) -> None:
        self.exchanges[self.kind].dropped[silo] = reason
        title = self.registry.title(silo)
        log.warning("round %d: silo %d%s is left out: it %s", self.server_round, silo, title, reason)


def _values_of(array: Array) -> NDArray:
    return read_values(array, array.dtype, tuple(array.shape), fortran=True)
