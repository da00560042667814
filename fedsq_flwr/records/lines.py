"""From a finished round to its line in the history, and from all lines to the summary's figures."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fedsq_flwr.federation.diagnostics import Diagnostics
from fedsq_flwr.federation.exchange import Exchange
from fedsq_flwr.federation.messages import UNREADABLE, WEIGHT
from fedsq_flwr.federation.rounds import Round
from fedsq_flwr.learning import Evaluation
from fedsq_flwr.records.history import Line

#: Fields of a line: the samples that each silo trained and was judged on, and its files that cannot be read.
SAMPLES, HELD_OUT, UNREADABLE_FILES = "silo_samples", "silo_held_out", "silo_unreadable"


def line_of(finished: Round) -> Line:
    """Return the line of a round.

    ``loss`` and ``accuracy`` are the validation set's, or, where the server has none, those of all samples
    that the silos hold out; what was not measured in this round is None.
    """
    validation = finished.server.get("validation") or finished.held_out()
    test = finished.server.get("test")
    accuracies = {silo: float(m["accuracy"]) for silo, m in sorted(finished.evaluation.metrics.items())}
    dropped = [
        {"silo": silo, "reason": reason, "while": kind}
        for kind, exchange in (("training", finished.training), ("evaluating", finished.evaluation))
        for silo, reason in sorted(exchange.dropped.items())
    ]
    return {
        "round": finished.number,
        "train_loss": finished.train_loss(),
        "loss": validation.loss if validation else None,
        "accuracy": validation.accuracy if validation else None,
        "test_loss": test.loss if test else None,
        "test_accuracy": test.accuracy if test else None,
        "seconds": finished.seconds,
        "train_seconds": finished.train_seconds(),
        "exchange_seconds": finished.exchange_seconds,
        "sampled": len(finished.training.sampled),
        "replies": len(finished.training.metrics),
        "dropped": dropped,
        SAMPLES: _by_silo(finished.training, WEIGHT),
        HELD_OUT: _by_silo(finished.evaluation, WEIGHT),
        UNREADABLE_FILES: {silo: count for silo, count in _by_silo(finished.training, UNREADABLE).items() if count},
        "silo_accuracies": {str(silo): accuracy for silo, accuracy in accuracies.items()},
        **_spread(list(accuracies.values())),
        "bytes_up": finished.bytes_up,
        "bytes_down": finished.bytes_down,
        "fingerprint": finished.fingerprint,
        **({} if finished.diagnostics is None else {"diagnostics": _as_json(finished.diagnostics)}),
    }


def best_line(lines: Sequence[Line]) -> Line:
    """Return the line of the best validation accuracy; on a tie the earliest, which is the cheapest.

    Where no round was measured, it is the last.
    """
    measured = [line for line in lines if line["accuracy"] is not None]
    return max(measured, key=lambda line: (line["accuracy"], -line["round"])) if measured else lines[-1]


def figures(lines: Sequence[Line]) -> dict[str, Any]:
    """Return the figures of a whole run: best and last round, area under the curve, traffic, seconds.

    ``accuracy_auc`` is the mean validation accuracy over the rounds in which it was measured: the area under
    the accuracy curve, a round being the unit.
    """
    best, last = best_line(lines), lines[-1]
    return {
        "best_accuracy": best["accuracy"],
        "rounds_to_best": best["round"],
        "accuracy_auc": _mean([line["accuracy"] for line in lines if line["accuracy"] is not None]),
        "test_accuracy": best["test_accuracy"],
        "final_accuracy": last["test_accuracy"],
        "final_validation_accuracy": last["accuracy"],
        "silo_accuracy_mean": best["silo_accuracy_mean"],
        "silo_accuracy_worst": best["silo_accuracy_worst"],
        "silo_accuracy_std": best["silo_accuracy_std"],
        "bytes_up": sum(line["bytes_up"] for line in lines),
        "bytes_down": sum(line["bytes_down"] for line in lines),
        "train_seconds": sum(line["train_seconds"] for line in lines),
    }


def plain_figures(
    best: Mapping[str, Evaluation] | None, final: Mapping[str, Evaluation] | None
) -> dict[str, float | None]:
    """Return the accuracies of the plain form, the quantitative weights with their own ReLUs.

    Their names are those of the dual form's behind ``plain_``; None where there is no dual form, or no such
    set. Best is the round that the dual form's validation accuracy chose.
    """
    return {
        "plain_best_accuracy": _accuracy(best, "validation"),
        "plain_test_accuracy": _accuracy(best, "test"),
        "plain_final_accuracy": _accuracy(final, "test"),
        "plain_final_validation_accuracy": _accuracy(final, "validation"),
    }


def _accuracy(sets: Mapping[str, Evaluation] | None, name: str) -> float | None:
    return sets[name].accuracy if sets and name in sets else None


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _by_silo(exchange: Exchange, name: str) -> dict[str, int]:
    return {str(silo): int(metrics.get(name, 0)) for silo, metrics in sorted(exchange.metrics.items())}


def _as_json(diagnostics: Diagnostics) -> Line:
    return {**dataclasses.asdict(diagnostics), "layers": [dataclasses.asdict(layer) for layer in diagnostics.layers]}


def _spread(accuracies: list[float]) -> dict[str, float | None]:
    if not accuracies:
        return {"silo_accuracy_mean": None, "silo_accuracy_worst": None, "silo_accuracy_std": None}
    return {
        "silo_accuracy_mean": statistics.fmean(accuracies),
        "silo_accuracy_worst": min(accuracies),
        "silo_accuracy_std": statistics.pstdev(accuracies),
    }
