"""The Flower app of the server: assemble the parts, run the rounds, keep what they give."""

import logging
from collections.abc import Callable
from functools import partial

from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from fedsq_flwr.assembly.data import load_server_data
from fedsq_flwr.assembly.model import gate_cache, load_kernels, model_of, structure_schedule
from fedsq_flwr.assembly.network import describe_weights, load_start
from fedsq_flwr.errors import ConfigurationError, FedSQError
from fedsq_flwr.federation import FedSQ
from fedsq_flwr.federation.aggregation import Surroundings, build_aggregation
from fedsq_flwr.federation.diagnostics import Examiner
from fedsq_flwr.federation.local_models import LocalModels
from fedsq_flwr.federation.protocol import SETTINGS, UNREADABLE
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.rounds import MEASURED, run_rounds
from fedsq_flwr.federation.server_model import ServerModel
from fedsq_flwr.federation.wire import Wire
from fedsq_flwr.learning import Evaluation
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.history import Line
from fedsq_flwr.report import write_report
from fedsq_flwr.run_config import settings_of
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import for_real_silos

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
    settings = settings_of(context)
    directory = RunDirectory(settings.output)
    try:
        run_federation(grid, settings, directory)
    except FedSQError as error:
        directory.write_failure(str(error))
        raise


def run_federation(
    grid: Grid, settings: RunSettings, directory: RunDirectory, on_round: Callable[[Line], None] | None = None
) -> None:
    """Run all rounds of ``settings`` on ``grid`` and write the run's directory.

    Flower decides how many silos a simulation has; ``settings.silos`` is then what it says.

    Parameters
    ----------
    grid : Grid
        Carries messages to the silos.
    settings : RunSettings
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
    with torch_threads(settings.executor.threads):
        _run(grid, settings, directory, on_round or (lambda _: None))


def _run(grid: Grid, settings: RunSettings, directory: RunDirectory, on_round: Callable[[Line], None]) -> None:
    real = settings.has_real_silos
    wire = wire_of(grid, settings)
    registry = NodeRegistry(settings.executor.join_timeout)
    nodes = registry.wait_for(wire, settings.silos if real else None, settings.min_available_silos)
    if not real:  # Flower decides how many silos a simulation has
        settings = settings.changed(silos=registry.num_partitions or len(nodes))
    task = load_server_data(settings)
    start = directory.open(settings, task)
    classes = len(task.class_names)
    pretrained = load_start(settings, classes)
    weights = describe_weights(settings, pretrained)
    device = choose_device(settings.executor.device)
    network = model_of(settings, classes, pretrained.network)
    load_kernels(settings)
    model = ServerModel(
        network,
        task,
        device,
        settings.executor.precision,
        schedule=structure_schedule(settings),
        gates=gate_cache(settings),
        distributes_start=settings.executor.structure == "sent" and settings.method.gates == "pretrained",
    )
    # Made before a resumed state is loaded: FedAvg's gates are compared with those of its start.
    if settings.diagnostics and len(task.validation) == 0:
        raise ConfigurationError("diagnostics=true: needs a validation set of the server's, in data.path")
    images = task.validation.images[: settings.diagnostics_size].to(device)
    examiner = Examiner(network, images) if settings.diagnostics else None
    sampling = {
        "fraction_train": settings.fraction_train,
        "fraction_evaluate": settings.fraction_evaluate,
        "min_train_nodes": 1,
        "min_evaluate_nodes": 1 if settings.fraction_evaluate else 0,
        "min_available_nodes": settings.min_available_silos or settings.silos,
    }
    run = Surroundings(model.arrays(), registry, sampling)
    inner = build_aggregation(settings.method.averaging, run)
    strategy = FedSQ(
        inner,
        fingerprint="" if settings.method.gates == "none" else lambda _: model.fingerprint,
        structure=lambda _: model.structure_arrays(),
        ask_for_structure=settings.executor.structure == "sent",
        linear_probing_rounds=settings.linear_probing_rounds,
        head=model.head_names(),
        metrics={**MEASURED, "train": (*MEASURED["train"], UNREADABLE)} if real else MEASURED,
        uniform=settings.method.weighting == "uniform",
        min_replies=settings.min_replies,
        seed=settings.seed,
        timeout=settings.executor.round_timeout,
        registry=registry,
    )
    if start.state is not None:
        strategy.load_state(start.server or {})
        model.resume(start.round - 1, start.state, start.structure)
    strategy.summary()
    rounds = run_rounds(
        strategy,
        wire,
        model.arrays(),
        first=start.round,
        last=settings.rounds,
        timeout=settings.executor.round_timeout,
        enter=model.enter,
        evaluate=partial(_evaluate, model, inner),
        evaluate_every=settings.evaluate_every,
        config=ConfigRecord({SETTINGS: (for_real_silos(settings) if real else settings).to_json()}),
        examine=examiner.examine if examiner is not None else None,
    )
    for finished in rounds:
        on_round(directory.keep(finished, model.state(), model.structure(), strategy.state() or None))
    directory.finish(settings, task, model, weights)
    log.info("the report is %s", write_report(directory.path))


def _evaluate(model: ServerModel, inner: Strategy, averaged: ArrayRecord) -> dict[str, Evaluation]:
    """Evaluate the average, or, where each silo has a model of its own, these."""
    if isinstance(inner, LocalModels):
        return model.evaluate_all(averaged, inner.models.values())
    return model.evaluate(averaged)


def wire_of(grid: Grid, settings: RunSettings) -> Wire:
    """Return the wire of a run: packed where messages cross a network, or are to be rounded."""
    real = settings.has_real_silos
    packed = real or settings.wire_dtype != "float32"
    return Wire(grid, dtype=settings.wire_dtype if packed else None, poll=POLL_SECONDS if real else None)
