"""Rounds of 100 silos of 10,000 beside rounds of 100 silos that all take part: what silos cost that are not asked.

Both are whole runs in one process, with every file of a run. The model is linear and a silo has 25 images of 8
pixels, so that what is not training shows. Runs take turns. A round lasts from the line of the round before to its
own; the first one, which holds what is done once, is told apart, and so are the last one and what follows it.
"""

import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import nn

from fedsq_flwr.assembly.model import training_settings
from fedsq_flwr.assembly.network import Start
from fedsq_flwr.assembly.parts import Parts
from fedsq_flwr.data import FederatedData, LabelledImages
from fedsq_flwr.data.federated import build
from fedsq_flwr.data.sources import DataSource
from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.federation import FedSQClient, answer_evaluate, answer_query, answer_train
from fedsq_flwr.federation.protocol import PARTITION_ID
from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.server_app import run_federation
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from scripts.benchmarks.tables import interval

COHORT, POPULATION = 100, 10_000
TRAIN, HELD_OUT, PIXELS, CLASSES = 20, 5, 8, 10
ROUNDS = 6
SETTINGS = (
    *("executor=inprocess", "executor.workers=1", "method=fedavg", "partition=iid", f"rounds={ROUNDS}"),
    *("backbone.weights=random", f"backbone.image_size={PIXELS}", "learning_rate=0.01"),
)


@dataclass(frozen=True)
class Run:
    """Seconds of the first round, of each of the later ones, of the last one, and of what follows it."""

    first: list[float]
    later: list[float]
    last: list[float]
    after: list[float]


def run(_networks: Sequence[str], repeats: int, _native: bool) -> None:
    """Time ``repeats`` runs of each federation and print a line for each, with paired ratios of its rounds."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    arms = {f"all of {COHORT}": federation(COHORT), "the same again": federation(COHORT)}
    arms[f"{COHORT} of {POPULATION:,}"] = federation(POPULATION)
    found: dict[str, list[Run]] = {name: [] for name in arms}
    for repeat in range(repeats):
        first, names = repeat % len(arms), list(arms)
        for name in names[first:] + names[:first]:
            found[name].append(time_run(*arms[name]))
    print("| silos asked | first round | later rounds | to all of 100 | last round | to all of 100 | after it |")
    print("|---|---|---|---|---|---|---|")
    for name, runs in found.items():
        print(f"| {name} | {' | '.join(columns(runs, found[f'all of {COHORT}']))} |", flush=True)


def columns(runs: Sequence[Run], baseline: Sequence[Run]) -> list[str]:
    """Return the median seconds of each part of ``runs``; those of rounds with the ratio to ``baseline``."""
    texts = {}
    for part in ("first", "later", "last", "after"):
        ours, theirs = ([second for each in arm for second in getattr(each, part)] for arm in (runs, baseline))
        pairs = zip(ours, theirs, strict=True)
        texts[part] = [f"{statistics.median(ours):.2f} s", interval([mine / other for mine, other in pairs])]
    return [texts["first"][0], *texts["later"], *texts["last"], texts["after"][0]]


def federation(silos: int) -> tuple[RunSettings, FederatedData]:
    """Return a federation of ``silos`` silos, of which `COHORT` train and as many evaluate."""
    share = COHORT / silos
    sampling = (f"silos={silos}", f"fraction_train={share}", f"fraction_evaluate={share}")
    draw = torch.Generator().manual_seed(0)

    def images(count: int) -> LabelledImages:
        labels = torch.randint(CLASSES, (count,), generator=draw)
        return LabelledImages(torch.randn(count, 1, PIXELS, PIXELS, generator=draw), labels)

    indices = torch.arange(silos * (TRAIN + HELD_OUT)).view(silos, -1).tolist()
    source = DataSource(images(silos * (TRAIN + HELD_OUT)), images(50), tuple(map(str, range(CLASSES))))
    data = build(source, images(50), indices, [HELD_OUT] * silos, {"name": "iid", "seed": 0})
    return compose_settings([*SETTINGS, *sampling]), data


def time_run(settings: RunSettings, data: FederatedData) -> Run:
    """Time one run."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS**2, CLASSES)).eval()
    told = [time.perf_counter()]
    with (
        tempfile.TemporaryDirectory() as work,
        InProcessGrid(client_app(settings, data, network), silos=settings.silos) as grid,
    ):
        settings = settings.changed(output=f"{work}/run")
        parts, directory = Parts(data, Start(network, None, None)), RunDirectory(settings.output)
        run_federation(grid, settings, directory, lambda _: told.append(time.perf_counter()), parts=parts)
        told.append(time.perf_counter())
    first, *later, last, after = (end - start for start, end in pairwise(told))
    return Run([first], later, [last], [after])


def client_app(settings: RunSettings, data: FederatedData, network: nn.Module) -> ClientApp:
    """Return an app whose silos have ``data``, and share one model."""
    app, model = ClientApp(), QuantitativeCopy(network)

    def client(context: Context) -> FedSQClient:
        silo = int(context.node_config[PARTITION_ID])
        own = data.of_silo(silo)
        return FedSQClient(
            model,
            train=(own.train.images, own.train.labels),
            held_out=(own.held_out.images, own.held_out.labels),
            settings=training_settings(settings),
            silo=silo,
            seed=settings.seed,
        )

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return answer_query(message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return answer_train(client(context), message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return answer_evaluate(client(context), message)

    return app
