"""What a silo reports of its predictions: the server finds the measures of all silos' predictions in it."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedsq_flwr.federation.class_counts import lengths_of, names_of, read, report
from fedsq_flwr.federation.exchange import Exchange
from fedsq_flwr.federation.faults import Expectation, find_fault
from fedsq_flwr.federation.rounds import MEASURED, Round
from fedsq_flwr.learning.measures import Predictions, auroc_of, measure
from tests.federation.test_faults import Reply
from tests.learning.test_measures import drawn

CLASSES = 3
LEVELS = pytest.mark.parametrize("level", ["counts", "confusion"])


def metrics_of(given: Predictions, level: str) -> dict:
    accuracy = float((given.labels == given.predicted).mean())
    return {"num-examples": len(given.labels), "loss": 0.5, "accuracy": accuracy, **report(given, level)}


def pooled(sets: list[Predictions]) -> Predictions:
    return Predictions(
        *(np.concatenate([getattr(each, name) for each in sets]) for name in ("labels", "predicted", "probabilities"))
    )


def round_of(evaluated: dict[int, dict]) -> Round:
    return Round(
        number=1,
        arrays=ArrayRecord(),
        training=Exchange(),
        evaluation=Exchange(sampled=sorted(evaluated), metrics=evaluated),
        server={},
        bytes_up=0,
        bytes_down=0,
        seconds=0.0,
    )


@LEVELS
def test_the_measures_of_all_silos_are_those_of_their_predictions_together(level) -> None:
    sets = [drawn(seed, 40, CLASSES, lacking=1 if seed == 2 else None) for seed in range(3)]
    finished = round_of({silo: metrics_of(each, level) for silo, each in enumerate(sets)})
    together, by_silo = finished.held_out_measures()
    whole = measure(pooled(sets))
    for name in ("balanced_accuracy", "macro_f1", "recalls"):
        assert getattr(together, name) == getattr(whole, name)
    assert together.expected_calibration_error == pytest.approx(whole.expected_calibration_error)
    assert together.auroc == pytest.approx(np.mean([auroc_of(each) for each in sets[:2]]))
    assert together.auroc_sets == 2  # the third lacks a class
    assert by_silo[2].auroc is None
    assert by_silo[0] == replace(measure(sets[0]), confusion=None)
    assert (together.confusion is None) == (level == "counts")
    assert level == "counts" or (together.confusion == whole.confusion).all()


def test_without_counts_there_are_none() -> None:
    finished = round_of({0: {"num-examples": 4, "loss": 0.5, "accuracy": 1.0}})
    assert finished.held_out_measures() == (None, {})
    assert (names_of("basic"), lengths_of("basic", 3)) == ((), {})


def test_a_silo_whose_model_diverged_hides_no_other() -> None:
    whole, diverged = (metrics_of(drawn(seed, 20, CLASSES), "counts") for seed in (0, 1))
    diverged["loss"] = float("nan")
    together, by_silo = round_of({0: whole, 1: diverged}).held_out_measures()
    assert list(by_silo) == [0]
    assert together.balanced_accuracy == by_silo[0].balanced_accuracy


def fault(level: str, **changes: object) -> str | None:
    given = {**metrics_of(drawn(0, 20, CLASSES), level), **changes}
    metrics = MetricRecord({name: value for name, value in given.items() if value is not None})
    content = RecordDict({"metrics": metrics, "config": ConfigRecord({"server-round": 1})})
    names, lengths = (*MEASURED["evaluate"], *names_of(level)), lengths_of(level, CLASSES)
    return find_fault(Reply(content), Expectation(1, "", {}, "num-examples", names, lengths=lengths))


@LEVELS
def test_a_sound_report_has_no_fault(level) -> None:
    assert fault(level) is None


@pytest.mark.parametrize(
    ("level", "changes", "told"),
    [
        ("counts", {"class-counts": None}, "has no list of 9 numbers under 'class-counts'"),
        ("counts", {"class-counts": 3}, "has no list of 9 numbers under 'class-counts'"),
        ("counts", {"class-counts": [1, 2]}, "has no list of 9 numbers under 'class-counts'"),
        ("counts", {"class-counts": [-1, *[1] * 8]}, "has -1 in the list under 'class-counts'"),
        ("counts", {"class-counts": [0.5] * 9}, "has counts of classes that are not integers"),
        ("counts", {"class-counts": [2**62] * 9}, "in the list under 'class-counts'"),
        ("counts", {"class-counts": [1] * 9}, "has counts of classes that do not add up"),
        ("counts", {"class-counts": [20, 0, 0, 0, 20, 0, 20, 0, 0]}, "has counts of classes that do not add up"),
        ("counts", {"accuracy": 0.0}, "has counts of classes that do not add up"),
        ("counts", {"calibration-gaps": [float("nan")] * 15}, "has nan in the list under 'calibration-gaps'"),
        ("counts", {"calibration-gaps": [20.0, 20.0, *[0.0] * 13]}, "has counts of classes that do not add up"),
        ("counts", {"auroc": 1.5}, "has 1.5 under 'auroc', not 0 to 1"),
        ("confusion", {"confusion-matrix": [7] * 9}, "has counts of classes that do not add up"),
        ("confusion", {"confusion-matrix": [1] * 4}, "has no list of 9 numbers under 'confusion-matrix'"),
    ],
)
def test_a_report_that_cannot_be_costs_the_reply_by_name(level, changes, told) -> None:
    assert told in str(fault(level, **changes))


def test_an_auroc_that_is_undefined_is_passed_over() -> None:
    assert read(metrics_of(drawn(0, 40, CLASSES, lacking=0), "counts"))[1] is None
    assert read(metrics_of(drawn(0, 40, CLASSES), "counts"))[1] is not None
