"""The outcome of a run that left no summary, told from its rounds alone."""

from collections.abc import Iterable
from typing import TypeVar

from fedsq_flwr.report.records import Partition, Round, SiloResult, Summary, is_finite

Number = TypeVar("Number", int, float)


def summarise(rounds: tuple[Round, ...], partition: Partition | None) -> Summary:
    """Make the summary that the rounds so far allow; what they cannot tell is None."""
    best = best_round(rounds)
    return Summary(
        best_round=best.round if best else None,
        best_accuracy=best.accuracy if best else None,
        accuracy_auc=None,
        test_accuracy=best.test_accuracy if best else None,
        final_accuracy=rounds[-1].test_accuracy,
        plain=None,
        per_silo=_per_silo(best, partition),
        silo_mean=best.silo_mean if best else None,
        silo_worst=best.silo_worst if best else None,
        silo_std=best.silo_std if best else None,
        bytes_up=_total(line.bytes_up for line in rounds),
        bytes_down=_total(line.bytes_down for line in rounds),
        wall_seconds=_total(line.seconds for line in rounds),
        train_seconds=_total(line.train_seconds for line in rounds),
        fingerprint=None,
        weights_sha256=None,
        versions={},
    )


def best_round(rounds: tuple[Round, ...]) -> Round | None:
    """Find the first of the rounds with the highest validation accuracy."""
    measured = [line for line in rounds if is_finite(line.accuracy)]
    return max(measured, key=lambda line: (line.accuracy or 0.0, -line.round), default=None)


def _per_silo(best: Round | None, partition: Partition | None) -> tuple[SiloResult, ...]:
    accuracies = best.silo_accuracies if best else {}
    if partition is None:
        return tuple(SiloResult(silo, None, None, accuracy) for silo, accuracy in accuracies.items())
    return tuple(
        SiloResult(silo, size - held_out, held_out, accuracies.get(silo))
        for silo, (size, held_out) in enumerate(zip(partition.sizes, partition.held_out, strict=True))
    )


def _total(values: Iterable[Number | None]) -> Number | None:
    """Add up what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
