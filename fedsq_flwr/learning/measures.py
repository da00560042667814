"""The measures of a classifier beside loss and accuracy, from its predictions or from counts that sets add up to.

Balanced accuracy, macro-F1, recalls and AUROC are scikit-learn's. A resample of the bootstrap takes all of them a
thousand times, for which scikit-learn has no function: `of_resamples` works them out for many resamples at once, and
equals scikit-learn's (tests/learning/test_measures.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

#: Equal bins of the confidence, for the expected calibration error.
BINS = 15
#: Of the bootstrap; its interval runs from the 2.5th to the 97.5th percentile of them.
RESAMPLES = 1000
_AT_ONCE = 2**20  # weights of samples that are held at a time

Floats = NDArray[np.float64]
Counted = NDArray[np.int64]
#: Both ends; None where no resample has the measure.
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Predictions:
    """What a model said of labelled samples.

    Attributes
    ----------
    labels, predicted : ndarray of int64
        ``(N,)``, classes from 0; N >= 1.
    probabilities : ndarray of float32 or float64
        ``(N, K)``, of each class; a row sums to 1.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.floating]

    @property
    def are_finite(self) -> bool:
        """Whether the model has not diverged."""
        return bool(np.isfinite(self.probabilities).all())


@dataclass(frozen=True)
class Counts:
    """Counts that add up over sets of samples: the measures of the sums are those of the sets taken together.

    Attributes
    ----------
    correct, support, predicted : ndarray of int64
        ``(K,)``: samples of a class that were recognised, samples of a class, samples that were taken for it.
    calibration : ndarray of float64
        ``(BINS,)``: in each bin of the confidence, the number of right answers minus the sum of the confidences.
    confusion : ndarray of int64 or None
        ``(K, K)``: samples by class (rows) and by predicted class (columns), where it is wanted.
    """

    correct: Counted
    support: Counted
    predicted: Counted
    calibration: Floats
    confusion: Counted | None = None

    def __add__(self, other: "Counts") -> "Counts":
        """Return the counts of both sets; a confusion matrix is kept where both have one."""
        known = self.confusion is not None and other.confusion is not None
        return Counts(
            self.correct + other.correct,
            self.support + other.support,
            self.predicted + other.predicted,
            self.calibration + other.calibration,
            self.confusion + other.confusion if known else None,  # type: ignore[operator]
        )


@dataclass(frozen=True)
class Measures:
    """The measures of a classifier on a set of samples.

    Attributes
    ----------
    balanced_accuracy : float
        Mean of the recalls of the classes that the set has.
    macro_f1 : float
        Mean F1 of the classes that the set has, or that a sample was taken for.
    recalls : tuple of float or None
        Of each class; None for a class that the set lacks.
    auroc : float or None
        Area under the ROC curve, each class against the rest, mean over the classes. None, since undefined, where the
        set lacks a class.
    expected_calibration_error : float
        Mean distance between confidence and accuracy over `BINS` equal bins, weighted by samples.
    confusion : ndarray of int64 or None
        See `Counts`.
    auroc_sets : int or None
        The number of sets that ``auroc`` is the weighted mean of; None where it is that of one set.
    """

    balanced_accuracy: float
    macro_f1: float
    recalls: tuple[float | None, ...]
    auroc: float | None
    expected_calibration_error: float
    confusion: Counted | None = None
    auroc_sets: int | None = None


def measure(predictions: Predictions) -> Measures:
    """Return the measures of predictions."""
    return measure_counts(count(predictions), auroc_of(predictions))


def count(predictions: Predictions, *, confusion: bool = True) -> Counts:
    """Count predictions by class and by confidence; a confidence that is not finite counts as 0."""
    classes = predictions.probabilities.shape[1]
    cells = np.bincount(predictions.labels * classes + predictions.predicted, minlength=classes**2)
    table = cells.reshape(classes, classes).astype(np.int64)
    gaps = _right(predictions) - _confidence(predictions)
    calibration = np.bincount(_bins(predictions), gaps, minlength=BINS).astype(np.float64)
    return Counts(table.diagonal().copy(), table.sum(1), table.sum(0), calibration, table if confusion else None)


def auroc_of(predictions: Predictions) -> float | None:
    """Return the mean over the classes of the AUROC against the rest.

    None where a class has no sample, or all have: it is undefined. None where the model has diverged.
    """
    classes = predictions.probabilities.shape[1]
    if not predictions.are_finite or len(np.unique(predictions.labels)) < max(2, classes):
        return None
    from sklearn.metrics import roc_auc_score  # takes a second and a half to import: only where it is wanted

    is_class = predictions.labels[:, None] == np.arange(classes)
    return float(roc_auc_score(is_class.astype(np.int64), predictions.probabilities, average="macro"))


def measure_counts(counts: Counts, auroc: float | None = None) -> Measures:
    """Return the measures that follow from counts, with an AUROC, which does not."""
    from sklearn.metrics import precision_recall_fscore_support

    classes = len(counts.support)
    each, other = np.arange(classes), np.full(classes, classes)
    # Samples by class and predicted class, wrong answers each with a class beyond all others on the other side.
    labels, predicted = np.concatenate([each, each, other]), np.concatenate([each, other, each])
    wrong = counts.support - counts.correct, counts.predicted - counts.correct
    weights = np.concatenate([counts.correct, *wrong])
    _, recalls, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=each, sample_weight=weights, zero_division=0.0
    )
    has = counts.support > 0
    return Measures(
        balanced_accuracy=float(recalls[has].mean()),
        macro_f1=float(f1[has | (counts.predicted > 0)].mean()),
        recalls=tuple(float(recall) if known else None for recall, known in zip(recalls, has, strict=True)),
        auroc=auroc,
        expected_calibration_error=float(np.abs(counts.calibration).sum() / counts.support.sum()),
        confusion=counts.confusion,
    )


def measure_together(sets: Iterable[tuple[Counts, float | None]]) -> Measures:
    """Return the measures of sets taken together, from the counts and the AUROC of each; there is at least one.

    The AUROC of all samples does not follow from the sets': what is returned is their mean, weighted by samples, over
    the sets where it is defined, with their number.
    """
    (first, _), *others = known = list(sets)
    total = sum((counts for counts, _ in others), start=first)
    areas = [(area, counts.support.sum()) for counts, area in known if area is not None]
    mean = float(np.average([a for a, _ in areas], weights=[n for _, n in areas])) if areas else None
    return replace(measure_counts(total, mean), auroc_sets=len(areas))


def bootstrap(predictions: Predictions, seed: int) -> tuple[dict[str, Interval], tuple[Interval, ...]]:
    """Return the 95 % percentile intervals of a bootstrap over samples.

    A resample in which a measure is undefined, since it lacks a class, does not count for that measure.

    Parameters
    ----------
    predictions : Predictions
        Of a model that has not diverged.
    seed : int
        Of the resamples: the same seed gives the same intervals.

    Returns
    -------
    (dict of str to (float, float) or None, tuple of (float, float) or None)
        The intervals of accuracy and of the measures by their names, and of the recall of each class.
    """
    number = len(predictions.labels)
    draw, together = np.random.default_rng(seed), max(1, _AT_ONCE // number)
    found: list[Mapping[str, Floats]] = []
    for first in range(0, RESAMPLES, together):
        rows = min(together, RESAMPLES - first)
        drawn = draw.integers(0, number, (rows, number)) + number * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number)
        found.append(of_resamples(predictions, times.astype(np.float64)))
    values = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    recalls = values.pop("recalls")
    return {name: _interval(each) for name, each in values.items()}, tuple(map(_interval, recalls.T))


def bootstrap_mean(values: Floats, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of ``values`` ``(N,)``, of a bootstrap over samples."""
    number = len(values)
    draw, together = np.random.default_rng(seed), max(1, _AT_ONCE // number)
    sizes = (min(together, RESAMPLES - first) for first in range(0, RESAMPLES, together))
    means = np.concatenate([values[draw.integers(0, number, (rows, number))].mean(1) for rows in sizes])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def of_resamples(predictions: Predictions, weights: Floats) -> dict[str, Floats]:
    """Return accuracy and all measures of resamples.

    Parameters
    ----------
    predictions : Predictions
        Of all samples.
    weights : ndarray of float64
        ``(R, N)``: how often each resample has each sample.

    Returns
    -------
    dict of str to ndarray
        ``(R,)``, and ``(R, K)`` for ``recalls``; NaN where a measure is undefined.
    """
    classes = np.arange(predictions.probabilities.shape[1])
    is_class = (predictions.labels[:, None] == classes).astype(np.float64)
    taken_for = (predictions.predicted[:, None] == classes).astype(np.float64)
    support, predicted, correct = weights @ is_class, weights @ taken_for, weights @ (is_class * taken_for)
    gaps = (_bins(predictions)[:, None] == np.arange(BINS)) * (_right(predictions) - _confidence(predictions))[
        :, None
    ]
    samples, times = weights.sum(1), np.ascontiguousarray(weights.T)
    by_class = zip(predictions.probabilities.T, is_class.T > 0, strict=True)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as it should be
        recalls, f1 = correct / support, 2 * correct / (support + predicted)
    return {
        "accuracy": correct.sum(1) / samples,
        "balanced_accuracy": np.nanmean(recalls, axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
        "auroc": np.mean([_areas(scores, ours, times) for scores, ours in by_class], axis=0),
        "expected_calibration_error": np.abs(weights @ gaps).sum(1) / samples,
        "recalls": recalls,
    }


def _areas(scores: NDArray[np.floating], is_class: NDArray[np.bool_], times: Floats) -> Floats:
    """Return the AUROC of a class against the rest in each resample; NaN where one of both has no sample.

    It is the share of pairs, one of the class and one of the rest, in which the former has the higher score; a tie
    counts as half a pair. ``times`` is ``(N, R)``.
    """
    order = np.argsort(scores, kind="stable")
    ranked, ours = scores[order], np.flatnonzero(is_class[order])
    rest = times[order]
    positive = rest[ours]
    rest[ours] = 0
    below = np.concatenate([np.zeros_like(rest[:1]), np.cumsum(rest, axis=0)])
    lower, upper = (below[np.searchsorted(ranked, ranked[ours], side)] for side in ("left", "right"))
    with np.errstate(invalid="ignore"):
        areas: Floats = (positive * (lower + upper) / 2).sum(0) / (positive.sum(0) * below[-1])
    return areas


def _interval(values: Floats) -> Interval:
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _right(predictions: Predictions) -> Floats:
    right: Floats = (predictions.labels == predictions.predicted).astype(np.float64)
    return right


def _confidence(predictions: Predictions) -> Floats:
    said = np.take_along_axis(predictions.probabilities, predictions.predicted[:, None], axis=1)[:, 0]
    confidence: Floats = np.nan_to_num(said.astype(np.float64), nan=0.0)
    return confidence


def _bins(predictions: Predictions) -> NDArray[np.intp]:
    """Return the bin of each sample; a confidence at the edge of two is in the lower one."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], _confidence(predictions))
