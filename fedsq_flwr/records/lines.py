"""From a finished round to its line in the history, and from all lines to the summary's figures."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fedsq_flwr.federation.diagnostics import Diagnostics
from fedsq_flwr.federation.rounds import Round
from fedsq_flwr.learning import Evaluation
from fedsq_flwr.records.history import Line


def line_of(finished: Round) -> Line:
    """Return the line of a round; ``loss`` and ``accuracy`` are the validation set's."""
    validation, test = finished.server["validation"], finished.server["test"]
    accuracies = {silo: float(m["accuracy"]) for silo, m in sorted(finished.evaluation.metrics.items())}
    dropped = [
        {"silo": silo, "reason": reason, "while": kind}
        for kind, exchange in (("training", finished.training), ("evaluating", finished.evaluation))
        for silo, reason in sorted(exchange.dropped.items())
    ]
    return {
        "round": finished.number,
        "train_loss": finished.train_loss(),
        "loss": validation.loss,
        "accuracy": validation.accuracy,
        "test_loss": test.loss,
        "test_accuracy": test.accuracy,
        "seconds": finished.seconds,
        "train_seconds": finished.train_seconds(),
        "sampled": len(finished.training.sampled),
        "replies": len(finished.training.metrics),
        "dropped": dropped,
        "silo_accuracies": {str(silo): accuracy for silo, accuracy in accuracies.items()},
        **_spread(list(accuracies.values())),
        "bytes_up": finished.bytes_up,
        "bytes_down": finished.bytes_down,
        "fingerprint": finished.fingerprint,
        **({} if finished.diagnostics is None else {"diagnostics": _as_json(finished.diagnostics)}),
    }


def best_line(lines: Sequence[Line]) -> Line:
    """Return the line of the best validation accuracy; on a tie the earliest, which is the cheapest."""
    return max(lines, key=lambda line: (line["accuracy"], -line["round"]))


def figures(lines: Sequence[Line]) -> dict[str, Any]:
    """Return the figures of a whole run: best and last round, area under the curve, traffic, seconds.

    ``accuracy_auc`` is the mean validation accuracy over the rounds: the area under the accuracy curve,
    a round being the unit.
    """
    best, last = best_line(lines), lines[-1]
    return {
        "best_accuracy": best["accuracy"],
        "rounds_to_best": best["round"],
        "accuracy_auc": statistics.fmean(line["accuracy"] for line in lines),
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

    Their names are those of the dual form's behind ``plain_``; all None where there is no dual form. Best
    is the round that the dual form's validation accuracy chose.
    """
    return {
        "plain_best_accuracy": best["validation"].accuracy if best else None,
        "plain_test_accuracy": best["test"].accuracy if best else None,
        "plain_final_accuracy": final["test"].accuracy if final else None,
        "plain_final_validation_accuracy": final["validation"].accuracy if final else None,
    }


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
