"""One run from the command line: check what can be checked, start the executor, show what happens."""

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from fedsq_flwr.assembly import load_kernels, load_server_data
from fedsq_flwr.assembly.network import load_network
from fedsq_flwr.config import Config
from fedsq_flwr.config.backbones import is_path, is_run
from fedsq_flwr.config.override_strings import quoted
from fedsq_flwr.config.schema import BackboneConfig
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.executors.inprocess import run_inprocess
from fedsq_flwr.executors.silos import agree, run_silos
from fedsq_flwr.executors.simulation import run_simulation
from fedsq_flwr.learning import AUGMENTATIONS
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.models import locate_weights
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.history import Line
from fedsq_flwr.report import RoundTable, print_summary
from fedsq_flwr.trackers import Tracking, open_trackers

log = logging.getLogger(__name__)

EXECUTORS = {"simulation": run_simulation, "inprocess": run_inprocess, "silos": run_silos}
_STARTING = {"simulation": "starting Flower's simulation", "silos": "waiting for the silos"}


def run_job(config: Config, overrides: list[str], output: Path, console: Console | None = None) -> float:
    """Run ``config`` in the directory ``output`` and return the best validation accuracy, NaN if none was measured.

    Parameters
    ----------
    config : Config
        Checked settings.
    overrides : list of str
        The Hydra overrides that compose it.
    output : Path
        The run's directory; in a sweep it is the job's own, below ``config.output``.
    console : Console, optional
        Where to show what happens; by default the standard output.

    Raises
    ------
    FedSQError
        If the run cannot start or does not do what was asked; one line says why.
    """
    trackers = open_trackers(config.trackers, output.absolute())
    config, overrides = _with_absolute_paths(config, overrides, output)
    if config.executor.name == "silos":
        config, overrides = agree(config, overrides)
    directory = RunDirectory(output)
    directory.check(config)
    console = console or Console()
    with RoundTable(config.rounds, config.silos, console) as table, _logging(output, table.status):
        _check_parts(config)
        if config.executor.name in _STARTING:
            table.status(_STARTING[config.executor.name])
        with Tracking(trackers, config, directory, table.warn) as tracking:

            def on_round(line: Line) -> None:
                table.add(line)
                tracking.catch_up()

            EXECUTORS[config.executor.name](config, overrides, on_round)
            summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
            tracking.finish(summary)
    print_summary(summary, output, console)
    best = summary["best_accuracy"]
    return math.nan if best is None else float(best)


def _check_parts(config: Config) -> None:
    """Load what the run will load, so that what is wrong with it shows before any silo is started."""
    try:
        choose_device(config.executor.device)
    except ValueError as error:
        raise ConfigurationError(f"executor.device={error}") from error
    load_kernels(config)
    augmentation = config.data.augmentation
    if AUGMENTATIONS[augmentation].views is None and config.method.gates != "none":
        log.info(
            "data.augmentation=%s: an image has too many views to keep its gates, which are computed for every "
            "batch of local training; those of evaluation are kept",
            augmentation,
        )
    task = load_server_data(config)
    load_network(config, len(task.class_names))


def _with_absolute_paths(config: Config, overrides: list[str], output: Path) -> tuple[Config, list[str]]:
    """Make paths absolute, in the settings and in the overrides: the apps run in other directories.

    Weights of the hub are pinned to their commit: every process then has the same, and need not ask for it. Those
    of a run are pinned to the file of its checkpoint.
    """
    absolute = dataclasses.replace(
        config,
        output=str(output.absolute()),
        cache_dir=str(Path(config.cache_dir).expanduser().absolute()),
        data=dataclasses.replace(config.data, path=_absolute(config.data.path)),
        partition=dataclasses.replace(config.partition, file=_absolute(config.partition.file)),
        backbone=dataclasses.replace(config.backbone, weights=_pinned_weights(config.backbone)),
        executor=dataclasses.replace(
            config.executor,
            gate_cache_dir=_absolute(config.executor.gate_cache_dir),
            root_certificates=_absolute(config.executor.root_certificates),
        ),
    )
    paths = {
        "output": absolute.output,
        "cache_dir": absolute.cache_dir,
        "data.path": absolute.data.path,
        "partition.file": absolute.partition.file,
        "backbone.weights": absolute.backbone.weights,
        "executor.gate_cache_dir": absolute.executor.gate_cache_dir,
        "executor.root_certificates": absolute.executor.root_certificates,
    }
    return absolute, [*overrides, *(f"{name}={quoted(path)}" for name, path in paths.items() if path is not None)]


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().absolute())


def _pinned_weights(backbone: BackboneConfig) -> str:
    if backbone.weights.startswith("hf:"):
        return locate_weights(backbone.name, backbone.weights).source
    if is_run(backbone.weights):
        return str(locate_weights(backbone.name, backbone.weights).path.absolute())
    return str(Path(backbone.weights).expanduser().absolute()) if is_path(backbone.weights) else backbone.weights


@contextmanager
def _logging(output: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Send the package's log, and Flower's, to ``run.log``; tell the person how the assembly of parts goes."""
    file = logging.FileHandler(output / "run.log")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    assembly, ours, flowers = (logging.getLogger(name) for name in ("fedsq_flwr.assembly", "fedsq_flwr", "flwr"))
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in (assembly, ours, flowers)]
    assembly.handlers, ours.handlers, flowers.handlers = [_Telling(tell)], [file], [file]
    for logger in (ours, flowers):
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        file.close()
        for logger, handlers, level, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


class _Telling(logging.Handler):
    """Tells each message once: the check before the run, the server and the silos load the same things."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._told:
            self._told.add(message)
            self._tell(message)
