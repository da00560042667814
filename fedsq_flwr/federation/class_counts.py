"""What a silo reports of its predictions beside loss and accuracy, as metrics of a reply: counts and an AUROC.

No prediction of a single sample leaves a silo. A bin of the calibration with one sample comes near to it.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from fedsq_flwr.federation.protocol import ACCURACY, AUROC, CALIBRATION, CLASS_COUNTS, CONFUSION
from fedsq_flwr.learning.measures import BINS, Counts, Predictions, auroc_of, count

Level = Literal["basic", "counts", "confusion"]


def report(predictions: Predictions, level: Level) -> dict[str, float | list[int] | list[float]]:
    """Return the metrics that ``level`` asks for; an AUROC that is undefined is 0, which `read` passes over."""
    counts = count(predictions)
    by_class = [counts.correct, counts.support, counts.predicted]
    cells = {CONFUSION: counts.confusion} if level == "confusion" else {CLASS_COUNTS: np.concatenate(by_class)}
    return {
        **{name: values.ravel().tolist() for name, values in cells.items() if values is not None},
        CALIBRATION: counts.calibration.tolist(),
        AUROC: auroc_of(predictions) or 0.0,
    }


def names_of(level: Level) -> tuple[str, ...]:
    """Return the names of the metrics of `report`."""
    if level == "basic":
        return ()
    return (CONFUSION if level == "confusion" else CLASS_COUNTS, CALIBRATION, AUROC)


def lengths_of(level: Level, classes: int) -> dict[str, int]:
    """Return the lengths of those metrics of `report` that are lists."""
    lengths = {CONFUSION: classes**2, CLASS_COUNTS: 3 * classes, CALIBRATION: BINS}
    return {name: lengths[name] for name in names_of(level) if name in lengths}


def read(metrics: Mapping[str, Any]) -> tuple[Counts, float | None]:
    """Return the counts of a reply, and its AUROC; None where a class is lacking: it is then undefined."""
    calibration, confusion = np.array(metrics[CALIBRATION], dtype=np.float64), None
    if CONFUSION in metrics:
        cells = np.array(metrics[CONFUSION], dtype=np.int64)
        confusion = cells.reshape(int(np.sqrt(len(cells))), -1)
        correct, support, predicted = confusion.diagonal().copy(), confusion.sum(1), confusion.sum(0)
    else:
        correct, support, predicted = np.array(metrics[CLASS_COUNTS], dtype=np.int64).reshape(3, -1)
    counts = Counts(correct, support, predicted, calibration, confusion)
    return counts, float(metrics[AUROC]) if len(support) > 1 and (support > 0).all() else None


def find_miscount(metrics: Mapping[str, Any], examples: int) -> str | None:
    """Return what does not add up in counts that are numbers within their ranges, as many as there should be."""
    if not all(isinstance(each, int) for name in (CONFUSION, CLASS_COUNTS) for each in metrics.get(name, ())):
        return "has counts of classes that are not integers"
    counts, _ = read(metrics)
    totals = {int(counts.support.sum()), int(counts.predicted.sum()), examples}
    right = int(counts.correct.sum()) == round(metrics[ACCURACY] * examples)
    possible = (counts.correct <= np.minimum(counts.support, counts.predicted)).all()
    near = np.abs(counts.calibration).sum() <= examples * (1 + 1e-6)
    return None if len(totals) == 1 and right and possible and near else "has counts of classes that do not add up"
