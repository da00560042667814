"""The rounds: train, average, evaluate, and hand each finished round on.

Flower's own ``Strategy.start`` has no hook for resuming, checkpoints or the best model, and counts its
rounds from 1 in every call; this loop makes the same calls in the same order, from any round on.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.serverapp import Grid

from fedsq_flwr.federation.diagnostics import Diagnostics
from fedsq_flwr.federation.messages import WEIGHT, count_bytes
from fedsq_flwr.federation.strategy import Exchange, FedSQ
from fedsq_flwr.learning import Evaluation

Enter = Callable[[int], None]
Evaluate = Callable[[ArrayRecord], dict[str, Evaluation]]
Examine = Callable[[ArrayRecord, ArrayRecord, Sequence[RecordDict]], Diagnostics]


@dataclass(frozen=True)
class Round:
    """A finished round.

    Attributes
    ----------
    number : int
        From 1.
    arrays : ArrayRecord
        The averaged model.
    training, evaluation : Exchange
        What the silos answered.
    server : dict of str to Evaluation
        The averaged model on the server's sets (``validation``, ``test``).
    bytes_up, bytes_down : int
        What the records of all messages from and to the silos held.
    seconds : float
        Of the whole round, by the clock.
    fingerprint : str
        Of the structure in force; empty where the ReLUs were the network's own.
    diagnostics : Diagnostics or None
        If they were asked for.
    """

    number: int
    arrays: ArrayRecord
    training: Exchange
    evaluation: Exchange
    server: dict[str, Evaluation]
    bytes_up: int
    bytes_down: int
    seconds: float
    fingerprint: str = ""
    diagnostics: Diagnostics | None = None

    def train_loss(self) -> float:
        """Return the mean training loss over all samples of the silos that were averaged."""
        examples: int = sum(m[WEIGHT] for m in self.training.metrics.values())
        total: float = sum(m[WEIGHT] * m["train_loss"] for m in self.training.metrics.values())
        return total / examples

    def train_seconds(self) -> float:
        """Return the seconds of local training, summed over the silos."""
        total: float = sum(m["train_seconds"] for m in self.training.metrics.values())
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
    examine: Examine | None = None,
) -> Iterator[Round]:
    """Run the rounds ``first`` to ``last``, yielding each when it is over.

    Parameters
    ----------
    strategy : FedSQ
        Chooses silos and averages.
    grid : Grid
        Carries messages.
    arrays : ArrayRecord
        The model that round ``first`` starts from.
    timeout : float
        Seconds to wait for the replies to one kind of message.
    enter : callable
        Told the number of each round before it begins: puts the server's structure of the round in force.
    evaluate : callable
        Evaluates an averaged model on the server's sets.
    examine : callable, optional
        Diagnoses a round, given the model it started from, the average, and the contents of the replies
        that were averaged.

    Raises
    ------
    RunFailedError
        If a round has too few usable replies, or too few silos connect.
    """
    for number in range(first, last + 1):
        started = time.perf_counter()
        enter(number)
        start = arrays
        down = list(strategy.configure_train(number, arrays, ConfigRecord(), grid))
        up = list(grid.send_and_receive(down, timeout=timeout))
        averaged, _ = strategy.aggregate_train(number, up)
        arrays = averaged if averaged is not None else arrays

        questions = list(strategy.configure_evaluate(number, arrays, ConfigRecord(), grid))
        answers = list(grid.send_and_receive(questions, timeout=timeout))
        strategy.aggregate_evaluate(number, answers)

        server = evaluate(arrays)
        trained, evaluated = strategy.training, strategy.evaluation
        diagnostics = examine(start, arrays, strategy.averaged(up)) if examine is not None else None
        yield Round(
            number=number,
            arrays=arrays,
            training=trained,
            evaluation=evaluated,
            server=server,
            bytes_up=count_bytes(up) + count_bytes(answers) + trained.bytes_up + evaluated.bytes_up,
            bytes_down=count_bytes(down) + count_bytes(questions) + trained.bytes_down + evaluated.bytes_down,
            seconds=time.perf_counter() - started,
            fingerprint=strategy.fingerprint_of(number),
            diagnostics=diagnostics,
        )
