"""What the files of a run hold, told by the run itself: from its rounds, its data and its model."""

import dataclasses
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from fedsq_flwr.data import FederatedData, ServerData
from fedsq_flwr.federation.exchange import Exchange
from fedsq_flwr.federation.protocol import UNREADABLE, WEIGHT
from fedsq_flwr.federation.rounds import Round
from fedsq_flwr.files import MOST, finite
from fedsq_flwr.learning import Evaluation, Measures, Predictions, derive_seed
from fedsq_flwr.learning.measures import bootstrap, measure
from fedsq_flwr.records.history import Line, best_line, is_accuracy, names_of, stops_early
from fedsq_flwr.records.provenance import provenance_of
from fedsq_flwr.records.summary import LAYOUT, Summary, TestMeasures, figures
from fedsq_flwr.settings.partition_file import REAL_SILOS, PartitionFile
from fedsq_flwr.settings.run import RunSettings


def line_of(finished: Round) -> Line:
    """Return the line of a round.

    ``loss`` and ``accuracy`` are the validation set's, or, where the server has none, those of all samples that the
    silos hold out; what was not measured in this round is None.
    """
    validation = finished.server.get("validation") or finished.held_out()
    measured = {name: _measured(finished.server.get(name)) for name in ("validation", "test")}
    together, by_silo = finished.held_out_measures()
    told = {
        "measures": measured["validation"] or (None if "validation" in finished.server else together),
        "test_measures": measured["test"],
        "held_out_measures": together,
        "silo_measures": by_silo,
    }
    test = finished.server.get("test")
    said = {silo: float(metrics["accuracy"]) for silo, metrics in sorted(finished.evaluation.metrics.items())}
    dropped = [
        {"silo": silo, "reason": reason, "while": kind}
        for kind, exchange in (("training", finished.training), ("evaluating", finished.evaluation))
        for silo, reason in sorted(exchange.dropped.items())
    ]
    unreadable = {silo: count for silo, count in _by_silo(finished.training, UNREADABLE).items() if count}
    line = {
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
        **({"waited": dict(sorted(finished.waited.items()))} if finished.waited else {}),
        **({"silo_names": dict(sorted(finished.names.items()))} if finished.names else {}),
        "silo_samples": _by_silo(finished.training, WEIGHT),
        "silo_held_out": _by_silo(finished.evaluation, WEIGHT),
        "silo_unreadable": unreadable,
        "silo_accuracies": said,
        **_spread([accuracy for accuracy in said.values() if is_accuracy(accuracy)]),
        **{name: _plain_measures(value) for name, value in told.items() if value},
        "bytes_up": finished.bytes_up,
        "bytes_down": finished.bytes_down,
        "fingerprint": finished.fingerprint,
    }
    if finished.diagnostics is not None:
        line["diagnostics"] = finite(dataclasses.asdict(finished.diagnostics))
    return Line.model_validate(line)


def partition_of(task: ServerData) -> PartitionFile:
    """Return which silo has what, where this process has distributed it."""
    told: dict[str, Any] = {
        "class_names": task.class_names,
        "validation": len(task.validation),
        "test": len(task.test),
    }
    if isinstance(task, FederatedData):
        told |= task.partition
        told["counts"], told["indices"] = task.class_counts(), task.indices
        told["held_out"] = [len(part) for part in task.held_out]
    else:
        told["name"] = REAL_SILOS
    return PartitionFile.model_validate(told)


def summary_of(settings: RunSettings, task: ServerData, lines: Sequence[Line], found: dict[str, Any]) -> Summary:
    """Return the summary of a run that did what was asked.

    Parameters
    ----------
    settings : RunSettings
        The run's.
    task : ServerData
        Its data.
    lines : sequence of Line
        All rounds.
    found : dict
        Fields that none of these tell.
    """
    best, unreadable = best_line(lines, settings.select_by), _latest(lines, "silo_unreadable")
    accuracies, names = best.accuracies, names_of(lines)
    per_silo = [
        {
            "silo": silo,
            **({"name": names[silo]} if silo in names else {}),
            "train": train,
            "held_out": held_out,
            "accuracy": accuracies.get(silo),
            **({"unreadable": unreadable[silo]} if silo in unreadable else {}),
            **({"measures": best.silo_measures[silo]} if silo in best.silo_measures else {}),
        }
        for silo, (train, held_out) in _sizes(task, lines).items()
    ]
    drawn = task.partition if isinstance(task, FederatedData) and not settings.has_real_silos else {}
    summary = {
        "schema": LAYOUT,
        "experiment": settings.experiment,
        "method": settings.method.name,
        "backbone": settings.backbone.name,
        "data": settings.data.name,
        "partition": drawn.get("name", REAL_SILOS),
        "alpha": drawn.get("alpha"),
        "silos": settings.silos,
        "seed": settings.seed,
        "rounds": settings.rounds,
        "learning_rate": settings.learning_rate,
        "batch_norm": settings.batch_norm,
        **({"stopped": lines[-1].round} if stops_early(lines, settings) else {}),
        **figures(lines, settings.select_by),
        "per_silo": per_silo,
        "versions": versions(),
        "provenance": provenance_of(settings, task),
    }
    return Summary.model_validate(summary | found)


def measured_on_test(predictions: Predictions, seed: int) -> TestMeasures | None:
    """Return the measures on the test set with their intervals; None of a model that has diverged."""
    if not predictions.are_finite:
        return None
    intervals, recalls = bootstrap(predictions, derive_seed(seed, "bootstrap"))
    told = _plain_measures(measure(predictions))
    return TestMeasures.model_validate({**told, "intervals": intervals, "recall_intervals": recalls})


def plain_figures(
    best: Mapping[str, Evaluation] | None, final: Mapping[str, Evaluation] | None
) -> dict[str, float | None]:
    """Return the accuracies of the plain form, the quantitative weights with their own ReLUs.

    Their names are those of the dual form's behind ``plain_``; None where there is no dual form, or no such set. Best
    is the round that the dual form's validation accuracy chose.
    """
    return {
        "plain_best_accuracy": _accuracy(best, "validation"),
        "plain_test_accuracy": _accuracy(best, "test"),
        "plain_final_accuracy": _accuracy(final, "test"),
        "plain_final_validation_accuracy": _accuracy(final, "validation"),
    }


def _measured(evaluation: Evaluation | None) -> Measures | None:
    """Return the measures of a set that the server has; its confusion matrix is for the summary alone."""
    said = evaluation.predictions if evaluation else None
    return replace(measure(said), confusion=None) if said is not None and said.are_finite else None


def _plain_measures(value: Measures | Mapping[int, Measures]) -> dict[Any, Any]:
    """Return measures, or those of each silo, as JSON has them; what was not asked for is left out."""
    if isinstance(value, Mapping):
        return {silo: _plain_measures(each) for silo, each in value.items()}
    told = dataclasses.asdict(value)
    confusion, sets = told.pop("confusion"), told.pop("auroc_sets")
    told |= {} if sets is None else {"auroc_sets": sets}
    return told | ({} if confusion is None else {"confusion": confusion.tolist()})


def _accuracy(sets: Mapping[str, Evaluation] | None, name: str) -> float | None:
    return sets[name].accuracy if sets and name in sets else None


def _by_silo(exchange: Exchange, name: str) -> dict[int, int]:
    """Return a number of each silo, as it said: that may be anything."""
    said = {silo: int(metrics.get(name, 0)) for silo, metrics in sorted(exchange.metrics.items())}
    return {silo: min(max(0, count), MOST - 1) for silo, count in said.items()}


def _spread(accuracies: list[float]) -> dict[str, float | None]:
    if not accuracies:
        return {"silo_accuracy_mean": None, "silo_accuracy_worst": None, "silo_accuracy_std": None}
    return {
        "silo_accuracy_mean": statistics.fmean(accuracies),
        "silo_accuracy_worst": min(accuracies),
        "silo_accuracy_std": statistics.pstdev(accuracies),
    }


def _sizes(task: ServerData, lines: Sequence[Line]) -> dict[int, tuple[int | None, int | None]]:
    """Return the training and held-out samples of each silo: as distributed, or as the silos said last."""
    if isinstance(task, FederatedData):
        parts = zip(task.train, task.held_out, strict=True)
        return {silo: (len(train), len(held_out)) for silo, (train, held_out) in enumerate(parts)}
    train, held_out = _latest(lines, "silo_samples"), _latest(lines, "silo_held_out")
    return {silo: (train.get(silo), held_out.get(silo)) for silo in sorted({*train, *held_out})}


def _latest(lines: Sequence[Line], name: str) -> dict[int, int]:
    """Return what each silo said last; lines of earlier versions may not say it."""
    return {silo: value for line in lines for silo, value in getattr(line, name).items()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a run's numbers depend on."""
    packages = {"fedsq_flwr": "fedsq-flwr", "torch": "torch", "flwr": "flwr", "ray": "ray", "hydra": "hydra-core"}
    return {"python": platform.python_version(), **{name: version(dist) for name, dist in packages.items()}}
