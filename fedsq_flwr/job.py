"""One run from the command line: check what can be checked, start the executor, show what happens."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from fedsq_flwr.apps.flower_log import log_failure, log_results, log_round
from fedsq_flwr.assembly.model import prepare_torch
from fedsq_flwr.assembly.parts import Parts, load_parts
from fedsq_flwr.errors import ConfigurationError, FedSQError
from fedsq_flwr.executors.inprocess import run_inprocess
from fedsq_flwr.executors.log_lines import log_format, log_formatter
from fedsq_flwr.executors.silos import agree, run_silos
from fedsq_flwr.executors.simulation import run_simulation
from fedsq_flwr.files import writing
from fedsq_flwr.invocation import command_line
from fedsq_flwr.learning import AUGMENTATIONS
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.models import locate_weights
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.history import Line
from fedsq_flwr.records.lock import outlast_server
from fedsq_flwr.records.results import versions
from fedsq_flwr.records.status import holds_run
from fedsq_flwr.records.summary import read_summary
from fedsq_flwr.report import RoundTable, print_summary, report_run
from fedsq_flwr.settings.backbone import is_run
from fedsq_flwr.settings.executor import InProcess, RealSilos, Simulation
from fedsq_flwr.settings.files import with_absolute_paths
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.trackers import Tracking, open_trackers

log = logging.getLogger(__name__)

_STARTING = {"simulation": "starting Flower's simulation", "silos": "waiting for the silos"}


def run_job(settings: RunSettings, console: Console | None = None) -> float:
    """Run ``settings`` in their output directory; return the best round's `Summary.score`, NaN if it has none.

    Parameters
    ----------
    settings : RunSettings
        The settings; the directory ``output`` is there, and the caller holds it (`records.lock.hold`).
    console : Console, optional
        Where to show what happens; by default the standard output.

    Raises
    ------
    FedSQError
        If the run cannot start or does not do what was asked; one line says why.
    """
    log_format()  # refuses another one before anything is written
    settings = with_absolute_paths(_with_pinned_weights(settings))
    output = Path(settings.output)
    console = console or Console()
    outlast_server(output, lambda line: console.print(line, style="yellow", markup=False, soft_wrap=True))
    trackers = open_trackers(settings.trackers, output)
    if settings.has_real_silos:
        settings = agree(settings)
    directory = RunDirectory(output)
    directory.check(settings)
    with (
        RoundTable(settings.rounds, settings.silos, console, settings.select_by) as table,
        _logging(output, table.status),
    ):
        _log_start(settings)
        if settings.resume and not holds_run(output):
            table.warn(f"resume=true: there is no run in output={settings.output} yet; this one begins with round 1")
        parts = _load_parts(settings)
        if settings.executor.name in _STARTING:
            log.info(_STARTING[settings.executor.name])
            table.status(_STARTING[settings.executor.name])

        def warn(text: str) -> None:
            log.warning("%s", text)
            table.warn(text)

        with Tracking(trackers, settings, directory, warn) as tracking:

            def on_round(line: Line) -> None:
                table.add(line)
                log_round(line, settings)
                tracking.catch_up()

            match settings.executor:
                case InProcess():
                    run_inprocess(settings, on_round, parts)
                case Simulation():
                    run_simulation(settings, on_round)
                case RealSilos():
                    run_silos(settings, on_round)
            summary = read_summary(output)
            if summary.stopped is not None:
                log.info(
                    "the run ended after round %d of %d: no improvement of %s by %g (stop_after=%d)",
                    *(summary.stopped, summary.rounds, settings.select_by),
                    *(settings.stop_min_delta, settings.stop_after),
                )
            report_run(output, warn)
            log_results(directory)
            tracking.finish(summary)
    print_summary(summary, output, console)
    return math.nan if summary.score is None else summary.score


def _log_start(settings: RunSettings) -> None:
    """Begin the log with what makes the run again: the command line, the versions, the settings."""
    log.info("command: %s", command_line())
    log.info("versions: %s", ", ".join(f"{name} {version}" for name, version in versions().items()))
    log.info("settings: %s", settings.to_json())


def _load_parts(settings: RunSettings) -> Parts | None:
    """Load the parts of the run, so that a mistake shows before any silo is started.

    The parts are returned where this process runs the federation. Elsewhere they would take memory for nothing: other
    processes load their own.
    """
    try:
        choose_device(settings.executor.device)
    except ValueError as error:
        raise ConfigurationError(f"executor.device={error}") from error
    prepare_torch(settings)
    augmentation = settings.data.augmentation
    if AUGMENTATIONS[augmentation].views is None and settings.method.gates != "none":
        log.info(
            "data.augmentation=%s: an image has too many views to keep its gates, which are computed for every "
            "batch of local training; those of evaluation are kept",
            augmentation,
        )
    parts = load_parts(settings)
    return parts if isinstance(settings.executor, InProcess) else None


def _with_pinned_weights(settings: RunSettings) -> RunSettings:
    """Pin weights of the hub to their commit, and those of a run to a file: every process then has the same."""
    name, weights = settings.backbone.name, settings.backbone.weights
    if weights.startswith("hf:"):
        return settings.changed(backbone={"weights": locate_weights(name, weights).source})
    if is_run(weights):
        return settings.changed(backbone={"weights": str(locate_weights(name, weights).path)})
    return settings


@contextmanager
def _logging(output: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Send the package's log, and Flower's, to ``run.log``; tell the person how the assembly of parts goes.

    What ends the run ends the log, too.
    """
    with writing(output):
        file = _LogFile(output / "run.log")
    file.setFormatter(log_formatter(run=output.name))
    assembly, ours, flowers = (logging.getLogger(name) for name in ("fedsq_flwr.assembly", "fedsq_flwr", "flwr"))
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in (assembly, ours, flowers)]
    assembly.handlers, ours.handlers, flowers.handlers = [_Telling(tell)], [file], [file]
    for logger in (ours, flowers):
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    except FedSQError as error:
        log_failure(str(error))
        raise
    except Exception:
        log.exception("the run ends by an unexpected error")
        raise
    except BaseException as error:  # Ctrl-C, or a signal
        log.error("the run is broken off: %s", type(error).__name__)
        raise
    finally:
        file.close()
        for logger, handlers, level, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


class _LogFile(logging.FileHandler):
    """A log that a full disk ends: the run then says so itself."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        pass

    def close(self) -> None:
        """Close the file, whatever of it is written."""
        with suppress(OSError):
            super().close()


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
