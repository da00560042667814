"""Lines of a run in Flower's log, which ``flwr run --stream`` and ``flwr log`` show."""

import logging
import shlex

from fedsq_flwr.federation.model_delivery import RunModel
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.history import Line
from fedsq_flwr.records.summary import read_summary
from fedsq_flwr.report import captions, numerals
from fedsq_flwr.report.page import REPORT_NAME
from fedsq_flwr.settings.run import RunSettings

log = logging.getLogger("flwr")


def log_start(settings: RunSettings) -> None:
    """Log the method and the run's directory."""
    log.info(
        "fedsq: %s for %s into %s", settings.method.name, numerals.count(settings.rounds, "round"), settings.output
    )


def log_round(line: Line, settings: RunSettings) -> None:
    """Log a finished round: losses, accuracies, and why replies were not used."""
    log.info(
        "fedsq: round %d/%d: train loss %s, validation loss %s, accuracy %s, test accuracy %s, silos %s",
        line.round,
        settings.rounds,
        numerals.loss(line.train_loss),
        numerals.loss(line.loss),
        numerals.accuracy(line.accuracy),
        numerals.accuracy(line.test_accuracy),
        captions.answered(line, settings.silos),
    )
    if line.dropped:
        log.warning("fedsq: round %d: %s", line.round, captions.of_drops(line.dropped, line.silo_names))


def log_results(directory: RunDirectory) -> None:
    """Log the best round and where the results are."""
    summary, path = read_summary(directory.path), directory.path
    log.info(
        "fedsq: best validation accuracy %s in round %s, test accuracy %s",
        numerals.accuracy(summary.best_accuracy),
        summary.rounds_to_best,
        numerals.accuracy(summary.test_accuracy),
    )
    page = path / REPORT_NAME
    told = f"; the page: {page}" if page.exists() else f"; fedsq report {shlex.quote(str(path))} makes the page"
    log.info("fedsq: results are in %s%s", path, told)


def log_delivery(model: RunModel, kept: int, refusing: int, owed: int) -> None:
    """Log at how many silos the model of a run is, how many take none, and how many are owed it."""
    log.info(
        "fedsq: the %s model of run %s, of its round %d, is at %s; %d take none, %d are owed it",
        model.choice,
        model.run,
        model.round,
        numerals.count(kept, "silo"),
        refusing,
        owed,
    )


def log_failure(reason: str) -> None:
    """Log why a run failed, in one line."""
    log.error("fedsq: %s", reason)
