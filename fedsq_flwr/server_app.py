"""The Flower app of the server: assemble the parts, run the rounds, keep what they give."""

import dataclasses
import logging
from collections.abc import Callable
from functools import partial

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from fedsq_flwr.assembly import (
    describe_weights,
    gate_cache,
    load_kernels,
    load_server_data,
    load_start,
    model_of,
    structure_schedule,
)
from fedsq_flwr.config import Config, validate
from fedsq_flwr.errors import ConfigurationError, FedSQError
from fedsq_flwr.federation import FedSQ
from fedsq_flwr.federation.aggregation import build_aggregation
from fedsq_flwr.federation.diagnostics import Examiner
from fedsq_flwr.federation.local_models import LocalModels
from fedsq_flwr.federation.messages import UNREADABLE
from fedsq_flwr.federation.roster import Roster
from fedsq_flwr.federation.rounds import MEASURED, run_rounds
from fedsq_flwr.federation.server_model import ServerModel
from fedsq_flwr.federation.server_optimiser import ServerOptimiser
from fedsq_flwr.federation.wire import Wire
from fedsq_flwr.learning import Evaluation
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.history import Line
from fedsq_flwr.report import write_report
from fedsq_flwr.run_config import config_of, key_of

log = logging.getLogger(__name__)
app = ServerApp()

#: The most seconds between two looks for the replies of real silos; a look costs the SuperLink milliseconds.
POLL_SECONDS = 0.5


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run config asks for.

    Raises
    ------
    FedSQError
        With one line; the line is also kept in the run's directory, where the executor finds it.
    """
    config = config_of(key_of(context))
    directory = RunDirectory(config.output)
    try:
        run_federation(grid, config, directory)
    except FedSQError as error:
        directory.write_failure(str(error))
        raise


def run_federation(
    grid: Grid, config: Config, directory: RunDirectory, on_round: Callable[[Line], None] | None = None
) -> None:
    """Run all rounds of ``config`` on ``grid`` and write the run's directory.

    Flower decides how many silos a simulation has; ``config.silos`` is set to what it says.

    Parameters
    ----------
    grid : Grid
        Carries messages to the silos.
    config : Config
        Checked settings.
    directory : RunDirectory
        Where the run is kept.
    on_round : callable, optional
        Told each finished round's line of the history.

    Raises
    ------
    FedSQError
        If the data or weights cannot be had, or a round fails.
    """
    with torch_threads(config.executor.threads):
        _run(grid, config, directory, on_round or (lambda _: None))


def _run(grid: Grid, config: Config, directory: RunDirectory, on_round: Callable[[Line], None]) -> None:
    real = config.executor.name == "silos"
    wire = wire_of(grid, config)
    roster = Roster(config.executor.join_timeout)
    nodes = roster.wait_for(wire, config.silos if real else None, config.min_silos)
    if not real:  # Flower decides how many silos a simulation has
        config = dataclasses.replace(config, silos=roster.num_partitions or len(nodes))
        validate(config)  # what depends on their number may no longer hold
    task = load_server_data(config)
    start = directory.open(config, task)
    classes = len(task.class_names)
    pretrained = load_start(config, classes)
    weights = describe_weights(config, pretrained)
    device = choose_device(config.executor.device)
    network = model_of(config, classes, pretrained.network)
    load_kernels(config)
    model = ServerModel(
        network,
        task,
        device,
        config.executor.precision,
        schedule=structure_schedule(config),
        gates=gate_cache(config),
        hands_out_start=config.executor.structure == "sent" and config.method.gates == "pretrained",
    )
    # Made before a resumed state is loaded: FedAvg's gates are compared with those of its start.
    if config.diagnostics and len(task.validation) == 0:
        raise ConfigurationError("diagnostics=true: needs a validation set of the server's, in data.path")
    images = task.validation.images[: config.diagnostics_size].to(device)
    examiner = Examiner(network, images) if config.diagnostics else None
    inner = build_aggregation(
        config.method,
        model.arrays(),
        frozenset(model.statistics_names()),
        roster,
        fraction_train=config.participation,
        min_train_nodes=1,
        min_evaluate_nodes=1,
        min_available_nodes=config.silos if config.min_silos is None else config.min_silos,
    )
    remembering = inner if isinstance(inner, ServerOptimiser | LocalModels) else None
    if start.state is not None:
        if remembering is not None:
            remembering.load_state(start.server or {})
        model.resume(start.round - 1, start.state, start.structure)
    strategy = FedSQ(
        inner,
        fingerprint="" if config.method.gates == "none" else lambda _: model.fingerprint,
        structure=lambda _: model.structure_arrays(),
        ask_for_structure=config.executor.structure == "sent",
        head_first_rounds=config.head_first_rounds,
        head=model.head_names(),
        metrics={**MEASURED, "train": (*MEASURED["train"], UNREADABLE)} if real else MEASURED,
        uniform=config.method.weighting == "uniform",
        min_replies=config.min_replies,
        seed=config.seed,
        timeout=config.executor.round_timeout,
        roster=roster,
    )
    strategy.summary()
    rounds = run_rounds(
        strategy,
        wire,
        model.arrays(),
        first=start.round,
        last=config.rounds,
        timeout=config.executor.round_timeout,
        enter=model.enter,
        evaluate=partial(_evaluate, model, inner),
        evaluate_every=config.evaluate_every,
        examine=examiner.examine if examiner is not None else None,
    )
    for finished in rounds:
        server = remembering.state() if remembering is not None else None
        on_round(directory.keep(finished, model.state(), model.structure(), server))
    directory.finish(config, task, model, weights)
    log.info("the report is %s", write_report(directory.path))


def _evaluate(model: ServerModel, inner: Strategy, averaged: ArrayRecord) -> dict[str, Evaluation]:
    """Evaluate the average, or, where each silo has a model of its own, these."""
    if isinstance(inner, LocalModels):
        return model.evaluate_all(averaged, inner.models.values())
    return model.evaluate(averaged)


def wire_of(grid: Grid, config: Config) -> Wire:
    """Return the wire of a run: packed where messages cross a network, or are to be rounded."""
    real = config.executor.name == "silos"
    packed = real or config.wire != "float32"
    return Wire(grid, dtype=config.wire if packed else None, poll=POLL_SECONDS if real else None)
