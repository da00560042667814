"""Hostile replies without end: each costs one reply, and the average is that of the good replies alone, to the bit.

Usage: ``python -m scripts.soak.replies [--count N] [--seconds S] [--seed N]``. Federations of six toy silos run round
after round. In each, some of the silos answer as `hostile_replies` says, in training and while evaluating.
Aggregations, loops (Flower's and ours) and wires (packed and not) take turns.
"""

import argparse
import logging
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, FedAvgM, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Strategy

from fedsq_flwr import FedSQ, answer_query
from fedsq_flwr.executors.grid import FIRST_SILO_NODE_ID, InProcessGrid
from fedsq_flwr.federation.arrays import to_arrays, to_state
from fedsq_flwr.federation.grid_view import GridView
from fedsq_flwr.federation.packing import is_packed, pack, unpack
from fedsq_flwr.federation.protocol import ARRAYS, CONFIG, METRICS
from fedsq_flwr.federation.rounds import MEASURED, run_rounds
from fedsq_flwr.federation.wire import Wire
from fedsq_flwr.learning import Evaluation
from fedsq_flwr.records.results import line_of
from scripts.soak.hostile_replies import error_reply, spoil

SILOS = 6
ROUNDS = 20
WIRES = (None, None, "float32", "bfloat16")
START = {
    "w": np.zeros((2, 3), np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "bn.running_var": np.ones(3, np.float32),
    "bn.num_batches_tracked": np.array(7, np.int64),
}
_SAMPLING = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": SILOS}
STRATEGIES: tuple[Callable[[], Strategy], ...] = (
    lambda: FedAvg(**_SAMPLING),
    lambda: FedAvgM(server_momentum=0.5, **_SAMPLING),
    lambda: FedMedian(**_SAMPLING),
    lambda: FedTrimmedAvg(**_SAMPLING),
    lambda: Krum(**_SAMPLING),
    lambda: MultiKrum(num_nodes_to_select=2, **_SAMPLING),
)


@dataclass
class Spoilt:
    """What was done in one exchange.

    Attributes
    ----------
    good : set of int
        The silos whose replies were left alone.
    surely : dict of int to list of str
        The silos whose replies can surely not be used, and what was done to these.
    perhaps : dict of int to list of str
        The silos whose replies may still be such that nothing is wrong with them.
    """

    good: set[int] = field(default_factory=set)
    surely: dict[int, list[str]] = field(default_factory=dict)
    perhaps: dict[int, list[str]] = field(default_factory=dict)


class Spoiling(GridView):
    """A grid that spoils about half of the replies, and leaves at least one as it is."""

    def __init__(self, grid: InProcessGrid, draw: random.Random) -> None:
        super().__init__(grid)
        self._draw = draw
        self.exchanges: dict[str, list[Spoilt]] = {"train": [], "evaluate": []}

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Spoil replies to training and evaluation."""
        messages = list(messages)
        replies = list(super().send_and_receive(messages, timeout=timeout))
        kind = messages[0].metadata.message_type if messages else "query"
        if kind not in self.exchanges:
            return replies
        spoilt, spared = Spoilt(), self._draw.randrange(len(replies))
        sent = []
        for place, (message, reply) in enumerate(zip(messages, replies, strict=True)):
            silo = message.metadata.dst_node_id - FIRST_SILO_NODE_ID
            if place == spared or self._draw.random() < 0.4:
                spoilt.good.add(silo)
                sent.append(reply)
            else:
                sent += self._spoil(message, reply, silo, spoilt)
        self.exchanges[kind].append(spoilt)
        self._draw.shuffle(sent)
        return sent

    def _spoil(self, message: Message, reply: Message, silo: int, spoilt: Spoilt) -> list[Message]:
        how = self._draw.random()
        if how < 0.04:
            spoilt.surely[silo] = ["no reply"]
            return []
        if how < 0.08:
            spoilt.surely[silo] = ["an error"]
            return [error_reply(self._draw, message)]
        if how < 0.1:
            spoilt.surely[silo] = ["another node's"]
            reply.metadata.__dict__["_src_node_id"] = FIRST_SILO_NODE_ID + (silo + 1) % SILOS
            return [reply]
        ways, surely = spoil(self._draw, reply.content)
        (spoilt.surely if surely else spoilt.perhaps)[silo] = ways
        return [reply]


def toy_app(named: bool) -> ClientApp:
    """Return an app whose silo k has k + 1 samples, and adds so much to all values.

    Where silos are ``named``, each says how many samples it has when it joins.
    """
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        samples = int(context.node_config["partition-id"]) + 1
        return answer_query(message, context, examples=(samples, samples) if named else None)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        samples, record = int(context.node_config["partition-id"]) + 1, message.content[ARRAYS]
        state = {
            n: tensor + samples for n, tensor in (unpack(record) if is_packed(record) else to_state(record)).items()
        }
        if is_packed(record):
            dtype = record["packed"].dtype
            steps = {n: torch.full_like(t, samples) if t.is_floating_point() else t for n, t in state.items()}
            arrays = pack(state if dtype == "float32" else steps, dtype)
        else:
            arrays = to_arrays(state)
        metrics = MetricRecord({"num-examples": samples, "train_loss": 1.0 / samples, "train_seconds": 0.5})
        return Message(RecordDict({ARRAYS: arrays, METRICS: metrics, CONFIG: _echo(message)}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        samples = int(context.node_config["partition-id"]) + 1
        metrics = MetricRecord({"num-examples": samples, "loss": 1.0, "accuracy": samples / 10})
        return Message(RecordDict({METRICS: metrics, CONFIG: _echo(message)}), reply_to=message)

    return app


class Checked:
    """A federation, each of whose rounds is checked against one of the good replies alone.

    Parameters
    ----------
    draw : Random
        Draws the aggregation, the loop, the wire, and what is done to the replies.
    """

    def __init__(self, draw: random.Random) -> None:
        make = draw.choice(STRATEGIES)
        self.dtype, self.named, self.ours = draw.choice(WIRES), draw.random() < 0.5, draw.random() < 0.5
        self.draw = draw
        self.strategy = FedSQ(make(), metrics=MEASURED if self.ours else {}, max_update_ratio=30.0)
        self.reference = FedSQ(make())
        self.arrays = ArrayRecord({name: Array(values) for name, values in START.items()})

    def run(self, rounds: int = ROUNDS) -> Counter[str]:
        """Run so many rounds, and return how often each way was tried."""
        with InProcessGrid(toy_app(self.named), silos=SILOS) as inner:
            self.grid = Spoiling(inner, self.draw)
            if self.ours:
                wire = Wire(self.grid, dtype=self.dtype)
                loop = {"first": 1, "last": rounds, "timeout": 5, "enter": lambda _: None, "evaluate": lambda _: {}}
                for finished in run_rounds(self.strategy, wire, self.arrays, **loop):
                    line_of(finished)
                    self.check(finished.number, finished.arrays)
                    self._check_held_out(finished.held_out())
            else:
                self.strategy.start(self.grid, self.arrays, num_rounds=rounds, evaluate_fn=self.check)
        exchanges = [spoilt for kind in self.grid.exchanges.values() for spoilt in kind]
        ways = [way for spoilt in exchanges for way in (*spoilt.surely.values(), *spoilt.perhaps.values())]
        return Counter({"bad replies": len(ways)}) + Counter(name for names in ways for name in names)

    def check(self, server_round: int, arrays: ArrayRecord) -> MetricRecord:
        """Check the replies that were used in a round, and the average that they gave.

        Raises
        ------
        AssertionError
            If a reply that cannot be used was, or a good one was not, or the average is not that of the good ones.
        """
        if server_round == 0:  # Flower's loop evaluates the start, too
            return MetricRecord()
        used = {"train": self.strategy.training, "evaluate": self.strategy.evaluation}
        for kind, exchange in used.items():
            spoilt, accepted = self.grid.exchanges[kind][-1], exchange.metrics.keys()
            told = f"round {server_round}, {kind}: {spoilt}, dropped {exchange.dropped}"
            assert spoilt.good <= accepted, told
            assert not accepted & spoilt.surely.keys(), told
            assert exchange.dropped.keys() | accepted == set(range(SILOS)), told
            assert all(reason.isprintable() and 0 < len(reason) < 400 for reason in exchange.dropped.values()), told
        messages = self.reference.configure_train(server_round, self.arrays, ConfigRecord(), self.grid)
        replies = [_good_reply(message) for message in messages if _silo_of(message) in used["train"].metrics]
        averaged, _ = self.reference.aggregate_train(server_round, replies)
        assert averaged is not None
        assert _bits(averaged) == _bits(arrays), f"round {server_round}: {self.grid.exchanges['train'][-1]}"
        self.arrays = arrays
        return MetricRecord()

    def _check_held_out(self, found: Evaluation | None) -> None:
        samples = [silo + 1 for silo in sorted(self.strategy.evaluation.metrics)]
        assert found is not None
        assert found.accuracy == sum(n * (n / 10) for n in samples) / sum(samples)


def soak(count: int, seed: int, seconds: float) -> Counter[str]:
    """Send ``count`` bad replies, or as many as ``seconds`` allow; return how often each way was tried.

    Raises
    ------
    Exception
        What was raised, with the seed and the number of the federation.
    """
    draw, tried, end, number = random.Random(seed), Counter[str](), time.monotonic() + seconds, 0
    while tried["bad replies"] < count and time.monotonic() < end:
        number += 1
        federation = Checked(random.Random(draw.random()))
        try:
            tried += federation.run()
        except Exception as error:
            error.add_note(f"seed={seed}, federation {number}")
            raise
    tried["federations"] = number
    return tried


def main() -> int:
    """Send bad replies, and print how many of each kind."""
    parser = argparse.ArgumentParser(prog="python -m scripts.soak.replies", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="bad replies (default 10000)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so many seconds")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default 0)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("error", RuntimeWarning)
    began = time.monotonic()
    tried = soak(options.count, options.seed, options.seconds)
    for name, times in sorted(tried.items()):
        print(f"{times:>7,}  {name}")
    print(f"seed {options.seed}: no uncaught exception, every average right; {time.monotonic() - began:.0f} s")
    return 0


def _good_reply(message: Message) -> Message:
    """Return what an honest silo answers to a message that was not packed."""
    samples = _silo_of(message) + 1
    arrays = {
        name: Array(np.asarray(array.numpy() + array.numpy().dtype.type(samples)))
        for name, array in message.content[ARRAYS].items()
    }
    metrics = MetricRecord({"num-examples": samples})
    content = RecordDict({ARRAYS: ArrayRecord(arrays), METRICS: metrics, CONFIG: _echo(message)})
    reply = Message(content, reply_to=message)
    reply.metadata.__dict__["_src_node_id"] = message.metadata.dst_node_id
    return reply


def _silo_of(message: Message) -> int:
    return message.metadata.dst_node_id - FIRST_SILO_NODE_ID


def _echo(message: Message) -> ConfigRecord:
    return ConfigRecord({"server-round": message.content[CONFIG]["server-round"]})


def _bits(arrays: ArrayRecord) -> dict[str, tuple[str, bytes]]:
    return {name: (array.dtype, array.numpy().tobytes()) for name, array in arrays.items()}


if __name__ == "__main__":
    sys.exit(main())
