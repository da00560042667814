"""FedSQ as a Flower strategy: an inner strategy averages, and layers around it see to what is averaged."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, FedAvgM, Strategy
from torch import Tensor

from fedsq_flwr.federation.asked import Asked
from fedsq_flwr.federation.distribution import StructureDistribution
from fedsq_flwr.federation.exchange import Exchange
from fedsq_flwr.federation.layers import (
    Kind,
    Layer,
    LinearProbing,
    ModelCheck,
    Screening,
    SeededOrder,
    ServerOptimiser,
    StructureInForce,
    UniformWeights,
)
from fedsq_flwr.federation.layers.one_at_a_time import Aggregated
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.replies import copy_reply
from fedsq_flwr.flower_internals import FedOpt
from fedsq_flwr.settings.run import MAX_EXAMPLES

log = logging.getLogger(__name__)


class FedSQ(Layer):
    """Federated averaging of quantitative copies under one fixed structure.

    FedSQ wraps any Flower strategy (FedAvg, FedProx, FedAdam, FedMedian, Krum ...) and can itself be wrapped, for
    instance by Flower's differential privacy. The inner strategy chooses the silos that train, adds to their
    configuration, and averages the replies. FedSQ adds layers of one promise each, from the outside in:

    1. `StructureInForce`: messages name the structure of the round, and silos that lack it are sent it.
    2. `SeededOrder`: the same seed samples the same silos and sums in the same order.
    3. `Screening`: a bad reply costs one reply, by name.
    4. `ModelCheck`: what is returned is a model like the one that was sent.
    5. `LinearProbing`, if asked for: only the head learns in the first rounds.
    6. `UniformWeights`, if asked for: every reply counts the same.
    7. `ServerOptimiser`, around FedAvgM and Flower's FedOpt strategies: running statistics are averaged.

    Parameters
    ----------
    inner : Strategy, optional
        The strategy that averages; `FedAvg()` by default.
    fingerprint : str or function of the round
        `DualCopy.fingerprint` of the structure in force; the empty string where there are no fixed gates. A function
        that returns the empty string tells the silos to use their own ReLUs in that round.
    structure : function of the round, optional
        Returns the structure in force (`DualCopy.structural_state`, as arrays) where silos do not have it from the
        start, else None. Each silo is sent it once, before it is first needed.
    ask_for_structure : bool
        Ask silos first whether they have the structure: they may have kept it from an earlier run.
    linear_probing_rounds : int
        First rounds in which only the head learns; the other arrays keep every bit that they had.
    head : collection of str
        Names of the head's arrays (`QuantitativeCopy.head_state`); needed for ``linear_probing_rounds``.
    metrics : mapping of str to collection of str
        Metrics that a reply to ``train`` and to ``evaluate`` must have to be used, each a number within its range.
        Other metrics are then ignored. Where none are named, those are aggregated that all usable replies have.
    lengths : mapping of str to int
        Which metrics of a reply to ``evaluate`` are lists of numbers, and how long they must be (`class_counts`).
    uniform : bool
        Every reply counts the same in the average, whatever number of samples it is of.
    min_replies : int
        Fewest usable replies of a training round; with fewer the run ends with an error.
    max_examples : int
        The most samples that a reply may be of. A silo that named its samples when it joined (`answer_query`) may
        weigh no more and no less.
    max_update_ratio : float
        The largest norm of a reply's update, in multiples of the largest median of an earlier round; 0: no bound.
        With a bound there is something to remember, see `state`.
    seed : int
        Seeds the choice of silos, round by round.
    timeout : float
        Seconds to wait for silos to connect and to say who they are.
    registry : NodeRegistry, optional
        Knows already which node is which silo; a new one by default.

    Notes
    -----
    No round's message holds a structural tensor: the arrays are what the caller passes, which is
    `DualCopy.quantitative_state`. The client app must answer `query` messages (`answer_query`).
    """

    def __init__(
        self,
        inner: Strategy | None = None,
        *,
        fingerprint: str | Callable[[int], str] = "",
        structure: Callable[[int], ArrayRecord | None] | None = None,
        ask_for_structure: bool = False,
        linear_probing_rounds: int = 0,
        head: Collection[str] = (),
        metrics: Mapping[str, Collection[str]] = MappingProxyType({}),
        lengths: Mapping[str, int] = MappingProxyType({}),
        uniform: bool = False,
        min_replies: int = 1,
        max_examples: int = MAX_EXAMPLES,
        max_update_ratio: float = 0.0,
        seed: int = 0,
        timeout: float = 600.0,
        registry: NodeRegistry | None = None,
    ) -> None:
        super().__init__(FedAvg() if inner is None else inner)
        self.registry = NodeRegistry(timeout) if registry is None else registry
        self.seed = seed
        self.uniform = uniform
        averaging: Strategy = self.inner
        if isinstance(averaging, FedAvgM | FedOpt):
            averaging = ServerOptimiser(averaging)
        if uniform:
            averaging = UniformWeights(averaging)
        if linear_probing_rounds:
            averaging = LinearProbing(averaging, linear_probing_rounds, head)
        self._screening = Screening(
            ModelCheck(averaging),
            self.registry,
            metrics=metrics,
            lengths=lengths,
            min_replies=min_replies,
            max_examples=max_examples,
            max_update_ratio=max_update_ratio,
        )
        self._structure = StructureInForce(
            SeededOrder(self._screening, self.registry, seed),
            fingerprint,
            structure=structure,
            distribution=StructureDistribution(timeout, ask=ask_for_structure),
        )

    @property
    def training(self) -> Exchange:
        """What came of the last exchange of training."""
        return self._screening.exchanges["train"]

    @property
    def evaluation(self) -> Exchange:
        """What came of the last exchange of evaluation."""
        return self._screening.exchanges["evaluate"]

    def fingerprint_of(self, server_round: int) -> str:
        """Return the fingerprint of the structure in force in a round; empty without fixed gates."""
        return self._structure.fingerprint_of(server_round)

    def averaged(self, replies: Iterable[Message]) -> list[RecordDict]:
        """Return what those of the last round's training ``replies`` hold that were averaged, by partition id."""
        asked, by_silo = Asked(self._structure.messages.get("train", ())), dict[int, Message]()
        for reply in replies:
            node = asked.node(reply)
            if node is not None:
                by_silo.setdefault(self.registry.silo(node), reply)
        used = [by_silo[silo] for silo in sorted(self.training.metrics)]
        weight = (self.weight_key, 1) if self.uniform else None
        return [copy_reply(reply, weight=weight).content for reply in used]

    def configure(
        self, kind: Kind, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Let the inner strategy choose silos and write its messages, within the layers.

        Raises
        ------
        RunFailedError
            If too few silos connect, or they do not say who they are, or the arrays lack the head's.
        """
        return self._structure.configure(kind, server_round, arrays, config, grid)

    def begin(self, kind: Kind, server_round: int) -> None:
        """Begin to take the replies of an exchange, whose messages have been sent."""
        self._structure.begin(kind, server_round)

    def add(self, reply: Message) -> None:
        """Take the next reply, in whatever order they come."""
        self._structure.add(reply)

    def finish(self) -> Aggregated:
        """Return the average of the usable replies, and their aggregated metrics.

        Raises
        ------
        RunFailedError
            If fewer than ``min_replies`` replies to training are usable, or the inner strategy returns no model,
            another network's, or one that is not finite.
        """
        return self._structure.finish()

    def state(self) -> dict[str, Tensor]:
        """Return what the inner strategy remembers beside the model, for a run that goes on; empty if nothing."""
        return self._structure.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` returned after the round before."""
        self._structure.load_state(state)

    def summary(self) -> None:
        """Log the settings of this strategy and of the inner one."""
        fewest, around = self._screening.min_replies, type(self.inner).__name__
        log.info("FedSQ: min_replies=%d, seed=%d, around %s", fewest, self.seed, around)
        self.inner.summary()
