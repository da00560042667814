"""Rounds on Ray with two actors beside two bare processes, each of which trains half of the silos.

Ten silos train a ResNet-18 (45 MB) at 32 pixels on about 100 of the UCI digits each, by FedAvg; no silo and no server
evaluates. The bare processes have one resident model each, no framework and no exchange: see `engine.bare`. Rounds of
both take turns, within the process of Flower's simulation.
"""

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import torch
import torchvision
from flwr.app import ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp

from fedsq_flwr.apps.connecting import connect, wire_of
from fedsq_flwr.apps.federation import Federation
from fedsq_flwr.assembly.parts import load_parts
from fedsq_flwr.executors.flower_app import FEDSQ_APP, FlowerApp
from fedsq_flwr.executors.simulation import run_simulation
from fedsq_flwr.federation.protocol import SETTINGS
from fedsq_flwr.federation.rounds import run_rounds
from fedsq_flwr.run_config import settings_of
from fedsq_flwr.settings.composition import compose_settings
from scripts.benchmarks.engine import Case, bare
from scripts.benchmarks.tables import interval

SILOS, ACTORS = 10, 2
TASK = (
    *("method=fedavg", "partition=iid", f"silos={SILOS}", "validation_fraction=0.2", "data.held_out_fraction=0.1"),
    *("backbone=resnet18", "backbone.weights=random", "backbone.image_size=32", "learning_rate=0.01"),
    *("backbone.mean=[0.1307]", "backbone.std=[0.3081]", "fraction_evaluate=0"),
)
RESULT = "rounds.json"

app = ServerApp()


def run(_networks: Sequence[str], repeats: int, _native: bool) -> None:
    """Time ``repeats`` rounds of each, after one that is not counted, and print a line."""
    with tempfile.TemporaryDirectory() as work:
        settings = compose_settings([*TASK, f"rounds={repeats + 1}", f"output={work}"])
        run_simulation(settings, lambda _: None, app=FlowerApp(f"{__name__}:app", FEDSQ_APP.clientapp))
        found = json.loads((Path(work) / RESULT).read_text(encoding="utf-8"))
    ratios = [ours / loop for ours, loop in zip(found["ours"], found["bare"], strict=True)]
    print(
        "| images a silo | two bare processes | Ray, 2 actors | of it training | over bare |\n|---|---|---|---|---|"
    )
    medians = (f"{statistics.median(found[name]):.2f} s" for name in ("bare", "ours", "training"))
    print(f"| {found['images']} | {' | '.join(medians)} | {interval(ratios)} |", flush=True)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds of both, and write their seconds."""
    settings = settings_of(context)
    with ExitStack() as stack:
        wire = stack.enter_context(closing(wire_of(grid, settings)))
        registry, settings = connect(wire, settings)
        parts = load_parts(settings)
        images = round(statistics.mean(train for train, _ in parts.data.examples()))
        processes = [stack.enter_context(bare_process(images)) for _ in range(ACTORS)]
        federation = Federation.build(settings, parts, registry)
        rounds = run_rounds(
            federation.strategy,
            wire,
            federation.model.arrays(wire.takes_shared_arrays),
            first=1,
            last=settings.rounds + 1,  # in the last one all silos would evaluate
            timeout=600.0,
            enter=lambda _: None,
            evaluate=lambda _: {},
            evaluate_every=settings.rounds + 1,
            config=ConfigRecord({SETTINGS: settings.to_json()}),
        )
        seconds: dict[str, list[float]] = {"ours": [], "training": [], "bare": []}
        for number in range(1, settings.rounds + 1):
            finished = next(rounds)
            loop = bare_round(processes)
            if number > 1:
                seconds["ours"].append(finished.seconds)
                seconds["training"].append(finished.train_seconds() / ACTORS)
                seconds["bare"].append(loop)
    (Path(settings.output) / RESULT).write_text(json.dumps({"images": images, **seconds}), encoding="utf-8")


@contextmanager
def bare_process(images: int) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that runs a bare round for each line that it is sent, and answers with a line."""
    command = [sys.executable, "-m", __name__, str(images)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()  # type: ignore[union-attr]


def bare_round(processes: Sequence["subprocess.Popen[str]"]) -> float:
    """Run a round in all ``processes``; return its seconds."""
    started = time.perf_counter()
    for process in processes:
        process.stdin.write("go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    for process in processes:
        process.stdout.readline()  # type: ignore[union-attr]
    return time.perf_counter() - started


if __name__ == "__main__":
    logging.getLogger("flwr").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    images = int(sys.argv[1])
    case = Case(lambda: torchvision.models.resnet18(num_classes=10), 3, 32, SILOS // ACTORS, images, SILOS // ACTORS)
    samples = torch.randn(case.silos, images, 3, 32, 32), torch.randint(10, (case.silos, images))
    one_round = bare(case, case.network(), *samples)
    for _ in sys.stdin:
        one_round()
        sys.stdout.write("done\n")
        sys.stdout.flush()
