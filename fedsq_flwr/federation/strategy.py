"""FedSQ as a Flower strategy: an inner strategy averages, FedSQ sees to what is averaged."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.exchange import Exchange
from fedsq_flwr.federation.handout import Handout
from fedsq_flwr.federation.protocol import FINGERPRINT, HEAD_ONLY, OWN_RELUS, ROUND, WEIGHT
from fedsq_flwr.federation.replies import copy_reply
from fedsq_flwr.federation.roster import OrderedGrid, Roster, seeded_sampling
from fedsq_flwr.federation.screening import Expectation, abstains, describe_arrays, find_fault, usual_metrics
from fedsq_flwr.learning import derive_seed

log = logging.getLogger(__name__)


class FedSQ(Strategy):
    """Federated averaging of quantitative copies under one fixed structure.

    It wraps any Flower strategy (FedAvg, FedProx, FedAdam, FedMedian, Krum ...) and can itself be
    wrapped, by Flower's differential privacy for one. The inner strategy keeps its say: which silos
    train, what is put into their configuration, how replies are averaged. FedSQ adds the structural
    fingerprint, a seeded choice of silos, screened replies, and sums in a fixed order, so that the same
    seed gives the same numbers.

    Parameters
    ----------
    inner : Strategy, optional
        The strategy that averages; `FedAvg()` by default.
    fingerprint : str or function of the round
        `DualCopy.fingerprint` of the structure in force; the empty string where there are no fixed gates.
        A function that returns the empty string tells the silos to use their own ReLUs in that round.
    structure : function of the round, optional
        Returns the structure in force (`DualCopy.structural_state`, as arrays) where silos do not have it
        from the start, else None. Each silo is handed it once, before it is first needed.
    ask_for_structure : bool
        Ask silos first whether they have it: they may have kept it from an earlier run.
    head_first_rounds : int
        In so many first rounds only the head learns; the other arrays keep every bit that they had.
    head : collection of str
        Names of the head's arrays (`QuantitativeCopy.head_state`); needed for ``head_first_rounds``.
    metrics : mapping of str to collection of str
        Metrics that a reply to ``train`` and to ``evaluate`` must have to be used, each a number.
    uniform : bool
        Every reply counts the same in the average, whatever number of samples it is of.
    min_replies : int
        Fewest usable replies of a training round; with fewer the run ends with an error.
    seed : int
        Seeds the choice of silos, round by round.
    timeout : float
        Seconds to wait for silos to connect and to say who they are.
    roster : Roster, optional
        Knows already which node is which silo; a new one by default.

    Attributes
    ----------
    training, evaluation : Exchange
        What came of the last exchange of either kind.

    Notes
    -----
    No round's message holds a structural tensor: the arrays are just what the caller passes, which is
    `DualCopy.quantitative_state`. The client app must answer `query` messages (`answer_query`).
    """

    def __init__(
        self,
        inner: Strategy | None = None,
        *,
        fingerprint: str | Callable[[int], str] = "",
        structure: Callable[[int], ArrayRecord | None] | None = None,
        ask_for_structure: bool = False,
        head_first_rounds: int = 0,
        head: Collection[str] = (),
        metrics: Mapping[str, Collection[str]] = MappingProxyType({}),
        uniform: bool = False,
        min_replies: int = 1,
        seed: int = 0,
        timeout: float = 600.0,
        roster: Roster | None = None,
    ) -> None:
        if min_replies < 1:
            raise ValueError(f"min_replies={min_replies}: must be at least 1")
        if head_first_rounds and not head:
            raise ValueError(f"head_first_rounds={head_first_rounds}: needs the names of the head's arrays")
        self.inner = FedAvg() if inner is None else inner
        self.fingerprint = fingerprint
        self.structure = structure
        self.head_first_rounds = head_first_rounds
        self.head = frozenset(head)
        self.metrics = metrics
        self.uniform = uniform
        self.min_replies = min_replies
        self.seed = seed
        self.roster = Roster(timeout) if roster is None else roster
        self.training = Exchange()
        self.evaluation = Exchange()
        self._handout = Handout(timeout, ask=ask_for_structure)
        self._sent = ArrayRecord()
        self._arrays: dict[str, tuple[str, tuple[int, ...]]] = {}

    def summary(self) -> None:
        """Log the settings of this strategy and of the inner one."""
        log.info("FedSQ: min_replies=%d, seed=%d, around %s", self.min_replies, self.seed, type(self.inner).__name__)
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the inner strategy choose silos and write its messages, within a seeded, ordered view.

        Raises
        ------
        RunFailedError
            If too few silos connect, or they do not say who they are, or the arrays lack the head's.
        """
        if self._is_head_only(server_round) and not self.head <= arrays.keys():
            raise RunFailedError(f"round {server_round}: the arrays lack {sorted(self.head - arrays.keys())}")
        self._sent, self._arrays = arrays, describe_arrays(arrays)
        messages = self._configure("train", server_round, arrays, config, grid)
        self.training = self._open_exchange(server_round, messages, grid)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Screen the replies, order them by partition id, and let the inner strategy average them.

        Raises
        ------
        RunFailedError
            If fewer than ``min_replies`` are usable, or the inner strategy returns no model, another
            network's, or one that is not finite.
        """
        usable = self._screen("train", server_round, replies, self.training)
        if len(usable) < self.min_replies:
            raise RunFailedError(
                f"round {server_round}: {len(usable)} usable replies of {len(self.training.sampled)}, "
                f"min_replies={self.min_replies} ({self.training.reasons()})"
            )
        arrays, metrics = self.inner.aggregate_train(server_round, [self._weighted(reply) for reply in usable])
        if arrays is None:
            raise RunFailedError(f"round {server_round}: {type(self.inner).__name__} returned no model")
        return self._as_sent(server_round, arrays), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the inner strategy choose the silos that evaluate, within a seeded, ordered view.

        Raises
        ------
        RunFailedError
            As `configure_train`.
        """
        messages = self._configure("evaluate", server_round, arrays, config, grid)
        self.evaluation = self._open_exchange(server_round, messages, grid)
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Screen and order the replies and let the inner strategy aggregate them; None if none is usable.

        A silo that holds no samples out answers with weight 0 and does not count as asked.
        """
        answers = list(replies)
        abstaining = [reply for reply in answers if abstains(reply, self._weight_key)]
        for reply in abstaining:
            self.evaluation.sampled.remove(self._silo(reply.metadata.src_node_id))
        counting = [reply for reply in answers if reply not in abstaining]
        usable = self._screen("evaluate", server_round, counting, self.evaluation)
        return self.inner.aggregate_evaluate(server_round, usable) if usable else None

    def averaged(self, replies: Iterable[Message]) -> list[RecordDict]:
        """Return what those of the last round's training ``replies`` hold that were averaged, by partition id."""
        by_silo = {self._silo(reply.metadata.src_node_id): reply for reply in replies if reply.has_content()}
        return [self._weighted(by_silo[silo]).content for silo in sorted(self.training.metrics)]

    def fingerprint_of(self, server_round: int) -> str:
        """Return the fingerprint of the structure in force in a round; empty without fixed gates."""
        return self.fingerprint(server_round) if callable(self.fingerprint) else self.fingerprint

    def _configure(
        self, kind: str, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        extended = ConfigRecord({**config, ROUND: server_round})
        if fingerprint := self.fingerprint_of(server_round):
            extended[FINGERPRINT] = fingerprint
        elif callable(self.fingerprint):  # said in a word: Flower cannot count the bytes of an empty string
            extended[OWN_RELUS] = True
        if kind == "train" and self._is_head_only(server_round):
            extended[HEAD_ONLY] = True
        view = OrderedGrid(grid, self.roster)
        configure = self.inner.configure_train if kind == "train" else self.inner.configure_evaluate
        with seeded_sampling(derive_seed(self.seed, "sample", kind, server_round)):
            messages = list(configure(server_round, arrays, extended, view))
        return sorted(messages, key=lambda message: self._silo(message.metadata.dst_node_id))

    def _open_exchange(self, server_round: int, messages: list[Message], grid: Grid) -> Exchange:
        """Note whom ``messages`` go to, once all of them have the structure that they will be asked to use."""
        nodes = [message.metadata.dst_node_id for message in messages]
        exchange = Exchange(sampled=[self._silo(node) for node in nodes])
        if self.structure is not None:
            fingerprint, structure = self.fingerprint_of(server_round), partial(self.structure, server_round)
            self._handout.send(grid, nodes, fingerprint, structure)
        return exchange

    def _screen(self, kind: str, server_round: int, replies: Iterable[Message], exchange: Exchange) -> list[Message]:
        expected = Expectation(
            server_round,
            self.fingerprint_of(server_round),
            self._arrays if kind == "train" else {},
            self._weight_key,
            self.metrics.get(kind, ()),
        )
        by_silo = {self._silo(reply.metadata.src_node_id): reply for reply in replies}
        for reply in by_silo.values():
            if reply.has_error():
                self._handout.forget(reply.metadata.src_node_id)
        faults = {silo: find_fault(reply, expected) for silo, reply in by_silo.items()}
        sound = {silo: by_silo[silo].content for silo in sorted(by_silo) if faults[silo] is None}
        if sound:
            usual = usual_metrics(sound.values())
            for silo, content in sound.items():
                metrics = next(iter(content.metric_records.values()))
                if metrics.keys() != usual:
                    faults[silo] = f"has metrics {sorted(metrics)}, not {sorted(usual)}"
                else:
                    exchange.metrics[silo] = dict(metrics)
        for silo in sorted(exchange.sampled):
            reason = faults.get(silo, "did not answer in time")
            if reason is not None:
                exchange.dropped[silo] = reason
                log.warning("round %d: silo %d is left out: it %s", server_round, silo, reason)
        return [by_silo[silo] for silo in sorted(exchange.metrics)]

    def _as_sent(self, server_round: int, averaged: ArrayRecord) -> ArrayRecord:
        """Give the average the dtypes that were sent (FedAdam computes in float64), if it is a model at all.

        While only the head learns, the body is as it was sent: an average of equal values need not be equal.
        """
        described = describe_arrays(averaged)
        if {name: shape for name, (_, shape) in described.items()} != {n: s for n, (_, s) in self._arrays.items()}:
            raise RunFailedError(
                f"round {server_round}: {type(self.inner).__name__} changed names or shapes of arrays"
            )
        head_only = self._is_head_only(server_round)
        source = {name: self._sent if head_only and name not in self.head else averaged for name in self._arrays}
        values = {
            name: source[name][name].numpy().astype(dtype, copy=False) for name, (dtype, _) in self._arrays.items()
        }
        for name, value in values.items():
            if not np.isfinite(value).all():
                by = type(self.inner).__name__
                raise RunFailedError(f"round {server_round}: the average of array '{name}' by {by} is not finite")
        return ArrayRecord({name: Array(value) for name, value in values.items()})

    def _weighted(self, reply: Message) -> Message:
        """Return a copy of ``reply`` for whoever averages, with the weight that it counts."""
        return copy_reply(reply, weight=(self._weight_key, 1) if self.uniform else None)

    def _is_head_only(self, server_round: int) -> bool:
        return server_round <= self.head_first_rounds

    @property
    def _weight_key(self) -> str:
        return str(getattr(self.inner, "weighted_by_key", WEIGHT))

    def _silo(self, node_id: int) -> int:
        return self.roster.silo(node_id)
