"""The measures equal scikit-learn's on the same predictions, of whole sets, of sums over sets and of resamples."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    recall_score,
    roc_auc_score,
)

from fedsq_flwr.learning import measures
from fedsq_flwr.learning.evaluation import predictions_of
from fedsq_flwr.learning.measures import BINS, Predictions, auroc_of, bootstrap, count, measure, measure_together


def drawn(seed: int, samples: int, classes: int, *, lacking: int | None = None, ties: bool = False) -> Predictions:
    """Draw predictions that are right more often than not, of unequal classes; one class may be lacking."""
    draw = torch.Generator().manual_seed(seed)
    rates = torch.arange(1.0, classes + 1)
    if lacking is not None:
        rates[lacking] = 0
    labels = torch.multinomial(rates, samples, replacement=True, generator=draw)
    logits = torch.randn(samples, classes, generator=draw) * 2 + 1.5 * torch.nn.functional.one_hot(labels, classes)
    return predictions_of(logits.round() if ties else logits, labels)


def calibration_error(given: Predictions) -> float:
    """Return the expected calibration error by scikit-learn's curve, which has the bins that are not empty."""
    right, confidence = given.labels == given.predicted, given.probabilities.max(1).astype(float)
    accuracy, mean = calibration_curve(right, confidence, n_bins=BINS)
    sizes = np.histogram(np.ceil(confidence * BINS), bins=np.arange(0.5, BINS + 1))[0]
    return float((sizes[sizes > 0] * np.abs(accuracy - mean)).sum() / len(right))


CASES = [
    pytest.param(drawn(0, 200, 4), id="four classes"),
    pytest.param(drawn(1, 60, 2), id="two classes"),
    pytest.param(drawn(2, 150, 10, ties=True), id="equal scores"),
    pytest.param(drawn(3, 80, 5, lacking=2), id="a class is lacking"),
    pytest.param(drawn(4, 1, 3), id="one sample"),
]


def by_sklearn(given: Predictions) -> dict[str, float]:
    labels, predicted, classes = given.labels, given.predicted, range(given.probabilities.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class that is lacking
        found = {
            "balanced_accuracy": balanced_accuracy_score(labels, predicted),
            "macro_f1": f1_score(labels, predicted, average="macro"),
            "recalls": recall_score(labels, predicted, labels=classes, average=None, zero_division=np.nan),
            "accuracy": accuracy_score(labels, predicted),
        }
    whole = len(set(labels)) == len(classes)
    scores = given.probabilities if len(classes) > 2 else given.probabilities[:, 1]
    found["auroc"] = roc_auc_score(labels, scores, multi_class="ovr", labels=classes) if whole else np.nan
    return found


@pytest.mark.parametrize("given", CASES)
def test_they_equal_scikit_learns(given: Predictions) -> None:
    found, expected = measure(given), by_sklearn(given)
    for name in ("balanced_accuracy", "macro_f1"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-12), name
    assert found.auroc is None if np.isnan(expected["auroc"]) else found.auroc == pytest.approx(expected["auroc"])
    assert [np.nan if each is None else each for each in found.recalls] == pytest.approx(
        expected["recalls"], nan_ok=True
    )
    classes = range(given.probabilities.shape[1])
    assert (found.confusion == confusion_matrix(given.labels, given.predicted, labels=classes)).all()
    assert found.expected_calibration_error == pytest.approx(calibration_error(given))


@pytest.mark.parametrize("given", CASES)
def test_sums_over_sets_are_the_measures_of_all_samples(given: Predictions) -> None:
    parts = [
        Predictions(given.labels[part], given.predicted[part], given.probabilities[part])
        for part in np.array_split(np.arange(len(given.labels)), 3)
        if len(part)
    ]
    areas = [auroc_of(part) for part in parts]
    told = [(count(part), area) for part, area in zip(parts, areas, strict=True)]
    found, whole = measure_together(told), measure(given)
    assert (found.confusion == whole.confusion).all()
    assert found.expected_calibration_error == pytest.approx(whole.expected_calibration_error)
    for name in ("balanced_accuracy", "macro_f1", "recalls"):
        assert getattr(found, name) == getattr(whole, name)
    known = [(area, len(part.labels)) for area, part in zip(areas, parts, strict=True) if area is not None]
    mean = sum(area * n for area, n in known) / sum(n for _, n in known) if known else None
    assert found.auroc == (mean if mean is None else pytest.approx(mean))
    assert found.auroc_sets == len(known)
    assert measure_together([(count(part, confusion=False), None) for part in parts]).confusion is None


@pytest.mark.parametrize("given", CASES)
def test_those_of_resamples_equal_scikit_learns_on_the_resampled_predictions(given: Predictions) -> None:
    draw = np.random.default_rng(5)
    picks = draw.integers(0, len(given.labels), (6, len(given.labels)))
    weights = np.stack([np.bincount(pick, minlength=len(given.labels)) for pick in picks]).astype(float)
    found = measures.of_resamples(given, weights)
    for row, pick in enumerate(picks):
        taken = Predictions(given.labels[pick], given.predicted[pick], given.probabilities[pick])
        expected = by_sklearn(taken) | {"expected_calibration_error": calibration_error(taken)}
        for name, values in found.items():
            assert values[row] == pytest.approx(expected[name], nan_ok=True), name


def test_an_interval_holds_the_measure_and_is_that_of_its_seed() -> None:
    given = drawn(0, 200, 4)
    (found, recalls), whole = bootstrap(given, 7), measure(given)
    assert found.keys() == {"accuracy", "balanced_accuracy", "macro_f1", "auroc", "expected_calibration_error"}
    for name in found.keys() - {"accuracy", "expected_calibration_error"}:  # that error is biased upwards
        low, high = found[name]
        assert low < getattr(whole, name) < high
        assert high - low < 0.2
    assert all(low <= recall <= high for (low, high), recall in zip(recalls, whole.recalls, strict=True))
    assert (found, recalls) == bootstrap(given, 7) != bootstrap(given, 8)


def test_the_interval_does_not_depend_on_how_many_resamples_are_held_at_a_time(monkeypatch) -> None:
    given = drawn(0, 50, 3)
    whole = bootstrap(given, 0)
    monkeypatch.setattr(measures, "_AT_ONCE", 7 * 50)
    assert bootstrap(given, 0) == whole


def test_what_is_undefined_has_no_interval() -> None:
    found, recalls = bootstrap(drawn(3, 80, 5, lacking=2), 0)
    assert found["auroc"] is None
    assert [each is None for each in recalls] == [False, False, True, False, False]


def test_a_model_that_diverged_has_no_auroc_and_is_counted() -> None:
    given = drawn(0, 20, 3)
    diverged = replace(given, probabilities=np.full_like(given.probabilities, np.nan))
    assert not diverged.are_finite
    assert auroc_of(diverged) is None
    assert np.isfinite(count(diverged).calibration).all()
