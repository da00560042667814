"""What some bad silos of ten do to a run, by what stands against them: the table of ``docs/explanation/results.md``.

Usage: ``python -m scripts.robustness [--rounds N] [--seeds N]``. 700 of the UCI digits, FedAvg's network, ten silos
in one process. Bad silos multiply their update. They begin in the second round, unless it is said otherwise: in the
first one there is no earlier round to compare an update with.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Message
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Strategy

from fedsq_flwr import FedSQ, client_app
from fedsq_flwr.apps.connecting import connect, wire_of
from fedsq_flwr.apps.federation import Federation
from fedsq_flwr.assembly.parts import Parts, load_parts
from fedsq_flwr.executors.grid import FIRST_SILO_NODE_ID, InProcessGrid
from fedsq_flwr.federation.grid_view import GridView
from fedsq_flwr.federation.protocol import ARRAYS, CONFIG, ROUND
from fedsq_flwr.federation.rounds import MEASURED
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings

SILOS = 10
SETTINGS = (
    *("method=fedavg", "executor=inprocess", f"silos={SILOS}", "partition.alpha=1"),
    *("data.limit=700", "backbone.image_size=8", "executor.workers=1"),
)
_SAMPLING = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": SILOS, "fraction_evaluate": 0.0}
#: By its name, the strategy that averages and the bound on updates.
DEFENCES: dict[str, tuple[Callable[[], Strategy], float]] = {
    "none (FedAvg, bound 0)": (lambda: FedAvg(**_SAMPLING), 0.0),
    "bound 10 (default)": (lambda: FedAvg(**_SAMPLING), 10.0),
    "bound 3": (lambda: FedAvg(**_SAMPLING), 3.0),
    "FedMedian": (lambda: FedMedian(**_SAMPLING), 0.0),
    "FedTrimmedAvg, 0.3": (lambda: FedTrimmedAvg(beta=0.3, **_SAMPLING), 0.0),
    "Krum, 3": (lambda: Krum(num_malicious_nodes=3, **_SAMPLING), 0.0),
    "MultiKrum, 3 of 7": (lambda: MultiKrum(num_malicious_nodes=3, num_nodes_to_select=7, **_SAMPLING), 0.0),
}
#: By its name, the factor, the number of bad silos, and the first round in which they are bad.
ATTACKS: dict[str, tuple[float, int, int]] = {
    "no bad silo": (1.0, 0, 1),
    "1, x10": (10.0, 1, 2),
    "3, x10": (10.0, 3, 2),
    "1, x100": (100.0, 1, 2),
    "3, x100": (100.0, 3, 2),
    "1, x-1": (-1.0, 1, 2),
    "3, x-1": (-1.0, 3, 2),
    "1, x100 from round 1": (100.0, 1, 1),
}


class Bad(GridView):
    """A grid whose first silos multiply their updates, from a round on."""

    def __init__(self, grid: InProcessGrid, factor: float, silos: int, first_round: int) -> None:
        super().__init__(grid)
        self._factor, self._silos, self._first_round = factor, silos, first_round

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Change the arrays of replies to training."""
        messages = list(messages)
        replies = list(super().send_and_receive(messages, timeout=timeout))
        for message, reply in zip(messages, replies, strict=True):
            if message.metadata.message_type == "train" and self._is_bad(message) and reply.has_content():
                start, trained = message.content[ARRAYS], reply.content[ARRAYS]
                reply.content[ARRAYS] = ArrayRecord({n: self._multiplied(start[n], trained[n]) for n in start})
        return replies

    def _is_bad(self, message: Message) -> bool:
        silo, server_round = message.metadata.dst_node_id - FIRST_SILO_NODE_ID, message.content[CONFIG][ROUND]
        return silo < self._silos and server_round >= self._first_round

    def _multiplied(self, start: Array, trained: Array) -> Array:
        before, after = start.numpy(), trained.numpy()
        if before.dtype.kind != "f":
            return trained
        moved = before + np.float32(self._factor) * (after - before)
        return Array(np.maximum(moved, 0) if (before >= 0).all() and (after >= 0).all() else moved)


def accuracy(settings: RunSettings, parts: Parts, defence: str, attack: str) -> float:
    """Return the accuracy of the last model on the test set."""
    make, ratio = DEFENCES[defence]
    client_app.service.adopt(settings, parts.data)
    with InProcessGrid(client_app.app, silos=SILOS) as inner:
        wire = wire_of(Bad(inner, *ATTACKS[attack]), settings)
        registry, settings = connect(wire, settings)
        federation = Federation.build(settings, parts, registry)
        federation.strategy = FedSQ(
            make(), metrics=MEASURED, max_update_ratio=ratio, seed=settings.seed, registry=registry
        )
        *_, last = federation.rounds(wire, 1)
    return last.server["test"].accuracy


def main() -> int:
    """Run all defences against all attacks and print a table: means over the seeds, in %."""
    parser = argparse.ArgumentParser(prog="python -m scripts.robustness", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    logging.disable(logging.ERROR)
    torch.set_num_threads(1)
    began = time.process_time()
    found: dict[tuple[str, str], list[float]] = {(d, a): [] for d in DEFENCES for a in ATTACKS}
    with tempfile.TemporaryDirectory() as work:
        for seed in range(options.seeds):
            words = (*SETTINGS, f"rounds={options.rounds}", f"seed={seed}", f"output={Path(work) / 'run'}")
            settings = compose_settings(words)
            parts = load_parts(settings)
            for (defence, attack), percent in found.items():
                percent.append(100 * accuracy(settings, parts, defence, attack))
            print(f"seed {seed}: {time.process_time() - began:.0f} s of CPU", file=sys.stderr, flush=True)
    print(f"| against them | {' | '.join(ATTACKS)} |\n|---|{'---|' * len(ATTACKS)}")
    for defence in DEFENCES:
        means = " | ".join(f"{statistics.fmean(found[defence, attack]):.1f}" for attack in ATTACKS)
        print(f"| {defence} | {means} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
