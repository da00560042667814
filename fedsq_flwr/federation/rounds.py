"""The rounds: train, average, evaluate.

Flower's own ``Strategy.start`` has no hook for resuming, checkpoints or the best model, and counts its rounds from 1
in every call. This loop makes the same calls in the same order, from any round on.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedsq_flwr.federation.asked import Asked
from fedsq_flwr.federation.class_counts import read
from fedsq_flwr.federation.diagnostics import Diagnostics
from fedsq_flwr.federation.exchange import Exchange, InProgress
from fedsq_flwr.federation.faults import reason_of
from fedsq_flwr.federation.protocol import ACCURACY, CALIBRATION, LOSS, SETTINGS, TRAIN_LOSS, TRAIN_SECONDS, WEIGHT
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.strategy import FedSQ
from fedsq_flwr.federation.wire import Wire
from fedsq_flwr.learning import Evaluation, Measures
from fedsq_flwr.learning.measures import measure_counts, measure_together

Enter = Callable[[int], None]
Evaluate = Callable[[ArrayRecord], dict[str, Evaluation]]
Tell = Callable[[InProgress], None]

#: Metrics that `Round` reads of the replies. `FedSQ` is told, and uses no reply that lacks one.
MEASURED: Mapping[str, Sequence[str]] = MappingProxyType(
    {"train": (TRAIN_LOSS, TRAIN_SECONDS), "evaluate": (LOSS, ACCURACY)}
)


@dataclass
class Round:
    """A finished round.

    Attributes
    ----------
    number : int
        From 1.
    arrays : ArrayRecord
        The averaged model.
    training, evaluation : Exchange
        What the silos answered; they are not asked to evaluate in every round.
    server : dict of str to Evaluation
        The averaged model on those of the sets ``validation`` and ``test`` that the server has.
    bytes_up, bytes_down : int
        What the records of all messages from and to the silos held.
    seconds : float
        Of the whole round, by the clock.
    exchange_seconds : dict of str to float
        Of these, until all replies to ``train`` and to ``evaluate`` were there. Each reply is examined and added to
        the average while others are waited for.
    fingerprint : str
        Of the structure in force; empty where the ReLUs were the network's own.
    start : ArrayRecord
        The model that was sent to the silos.
    replies : sequence of RecordDict
        What the silos sent that was averaged, by partition id, if it was to be kept; gone when the next round
        begins.
    waited : dict of int to float
        Seconds that the round waited for each silo after enough others had answered; those of a second and more.
    names : dict of int to str
        The names of silos that the rounds before have not told, in this process.
    diagnostics : Diagnostics or None
        Added after the round, if they are asked for.
    """

    number: int
    arrays: ArrayRecord
    training: Exchange
    evaluation: Exchange
    server: dict[str, Evaluation]
    bytes_up: int
    bytes_down: int
    seconds: float
    exchange_seconds: dict[str, float] = field(default_factory=dict)
    fingerprint: str = ""
    start: ArrayRecord = field(default_factory=ArrayRecord, repr=False)
    replies: Sequence[RecordDict] = field(default=(), repr=False)
    waited: dict[int, float] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    diagnostics: Diagnostics | None = None

    def train_loss(self) -> float:
        """Return the mean training loss over all samples of the silos that were averaged."""
        examples: int = sum(m[WEIGHT] for m in self.training.metrics.values())
        total: float = sum(m[WEIGHT] * m[TRAIN_LOSS] for m in self.training.metrics.values())
        return total / examples

    def held_out(self) -> Evaluation | None:
        """Return loss and accuracy over all samples that the silos hold out; None if none were evaluated."""
        metrics = list(self._evaluated().values())
        examples: int = sum(m[WEIGHT] for m in metrics)
        if examples == 0:
            return None
        loss, accuracy = (sum(m[WEIGHT] * m[name] for m in metrics) / examples for name in (LOSS, ACCURACY))
        return Evaluation(loss, accuracy, examples)

    def held_out_measures(self) -> tuple[Measures | None, dict[int, Measures]]:
        """Return the measures over all samples that silos hold out, and those of each, as far as they tell."""
        told = {
            silo: read(metrics)
            for silo, metrics in sorted(self._evaluated().items())
            if CALIBRATION in metrics and math.isfinite(metrics[LOSS])
        }
        by_silo = {silo: replace(measure_counts(*each), confusion=None) for silo, each in told.items()}
        return (measure_together(told.values()) if told else None), by_silo

    def _evaluated(self) -> dict[int, dict[str, Any]]:
        """Return the metrics of the silos by partition id: one silo's loss may not hide the others'."""
        metrics = self.evaluation.metrics
        return {silo: each for silo, each in metrics.items() if math.isfinite(each[LOSS])} or metrics

    def train_seconds(self) -> float:
        """Return the seconds of local training, summed over the silos."""
        total: float = sum(m[TRAIN_SECONDS] for m in self.training.metrics.values())
        return total


def run_rounds(
    strategy: FedSQ,
    grid: Grid,
    arrays: ArrayRecord,
    *,
    first: int,
    last: int,
    timeout: float,
    enter: Enter,
    evaluate: Evaluate,
    evaluate_every: int = 1,
    config: ConfigRecord | None = None,
    keep_replies: bool = False,
    tell: Tell = lambda _: None,
) -> Iterator[Round]:
    """Run the rounds ``first`` to ``last``, yielding each when it is over.

    Parameters
    ----------
    strategy : FedSQ
        Chooses silos and averages.
    grid : Grid
        Carries messages; a `Wire` if they are to be packed.
    arrays : ArrayRecord
        The model that round ``first`` starts from.
    timeout : float
        Seconds to wait for the replies to one kind of message.
    enter : callable
        Told the number of each round before it begins: puts the server's structure of the round in force.
    evaluate : callable
        Evaluates an averaged model on the server's sets.
    evaluate_every : int
        Rounds after which the silos evaluate; they do after the last in any case.
    config : ConfigRecord, optional
        What every message says, beside what the strategy adds.
    keep_replies : bool
        Whether each `Round` is to have the replies; all of a round are then held in memory.
    tell : callable, optional
        Told how an exchange with the silos stands when it begins, and at each reply.

    Raises
    ------
    RunFailedError
        If a round has too few usable replies, or too few silos connect.
    """
    wire = grid if isinstance(grid, Wire) else Wire(grid)
    nodes = strategy.registry.update(wire)  # that silos say who they are, and what they have, is no round's traffic
    if config is not None and SETTINGS in config:
        strategy.registry.ask_examples(wire, nodes, config, timeout)
    wire.take_waited()
    named: dict[int, str] = {}
    for number in range(first, last + 1):
        started, up_before, down_before = time.perf_counter(), wire.bytes_up, wire.bytes_down
        enter(number)
        start = arrays
        messages = strategy.configure_train(number, arrays, config or ConfigRecord(), wire)
        took: dict[str, float] = {}
        going = _Going(strategy.registry, tell, number)
        messages = list(messages)
        replies = _timed(took, "train", going.follow("training", messages, wire, timeout))
        up = list(replies) if keep_replies else []
        averaged, _ = strategy.aggregate_train(number, up or replies)
        arrays = averaged if averaged is not None else arrays

        asks = number % evaluate_every == 0 or number == last
        if asks:
            questions = strategy.configure_evaluate(number, arrays, config or ConfigRecord(), wire)
            answers = _timed(took, "evaluate", going.follow("evaluating", list(questions), wire, timeout))
            strategy.aggregate_evaluate(number, answers)

        server = evaluate(arrays)
        finished = Round(
            number=number,
            arrays=arrays,
            training=strategy.training,
            evaluation=strategy.evaluation if asks else Exchange(),
            server=server,
            bytes_up=wire.bytes_up - up_before,
            bytes_down=wire.bytes_down - down_before,
            seconds=time.perf_counter() - started,
            exchange_seconds=took,
            fingerprint=strategy.fingerprint_of(number),
            start=start,
            replies=strategy.averaged(up) if keep_replies else (),
            waited=_by_silo(wire.take_waited(), strategy.registry),
            names=dict(strategy.registry.names.items() - named.items()),
        )
        named |= finished.names
        up = []
        yield finished
        finished.replies = ()  # else the next round's would be held beside them


@dataclass(frozen=True)
class _Going:
    """Tells how the exchanges of a round stand."""

    registry: NodeRegistry
    tell: Tell
    number: int

    def follow(
        self, doing: Literal["training", "evaluating"], messages: list[Message], wire: Wire, timeout: float
    ) -> Iterator[Message]:
        """Send ``messages``, and pass the replies on."""
        replies, asked = wire.send_and_receive(messages, timeout=timeout), Asked(messages)
        silos = [self.registry.silo(message.metadata.dst_node_id) for message in messages]
        awaited, failed = set(silos), dict[int, str]()

        def told() -> None:
            self.tell(InProgress(self.number, doing, tuple(sorted(silos)), tuple(sorted(awaited)), dict(failed)))

        told()

        def passed_on() -> Iterator[Message]:
            for reply in replies:
                place = asked.place(reply)
                if place is not None:
                    awaited.discard(silos[place])
                    if reply.has_error():
                        failed[silos[place]] = reason_of(reply)
                    told()
                yield reply

        return passed_on()


def _timed(took: dict[str, float], kind: str, replies: Iterable[Message]) -> Iterator[Message]:
    """Pass the replies on; note the seconds until the last one is there."""
    started = time.perf_counter()
    yield from replies
    took[kind] = time.perf_counter() - started


def _by_silo(waited: Mapping[int, float], registry: NodeRegistry) -> dict[int, float]:
    """Return the waits of a second and more by silo; a node that is no silo takes no part in a round."""
    known = {node: seconds for node, seconds in waited.items() if seconds >= 1 and registry.knows(node)}
    return {registry.silo(node): round(seconds, 1) for node, seconds in known.items()}
