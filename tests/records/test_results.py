import json
import math
from dataclasses import replace

import pytest
from flwr.app import ArrayRecord

from fedsq_flwr.federation.diagnostics import Diagnostics
from fedsq_flwr.federation.exchange import Exchange
from fedsq_flwr.federation.rounds import Round
from fedsq_flwr.files import plain
from fedsq_flwr.gating import AveragingGap, LayerGates, WeightDrift
from fedsq_flwr.learning import Evaluation
from fedsq_flwr.learning.measures import measure
from fedsq_flwr.records.history import best_line, names_of
from fedsq_flwr.records.results import line_of, measured_on_test, plain_figures
from fedsq_flwr.records.summary import TestMeasures, figures
from fedsq_flwr.report import captions
from tests.learning.test_measures import drawn


def finished(**changes):
    values = {
        "number": 2,
        "arrays": ArrayRecord(),
        "training": Exchange(
            sampled=[0, 1, 2],
            metrics={
                0: {"num-examples": 1, "train_loss": 1.0, "train_seconds": 0.5},
                1: {"num-examples": 3, "train_loss": 2.0, "train_seconds": 1.5},
            },
            dropped={2: "disk is full"},
        ),
        "evaluation": Exchange(
            sampled=[0, 1],
            metrics={
                1: {"num-examples": 6, "loss": 0.8, "accuracy": 0.5},
                0: {"num-examples": 2, "loss": 0.4, "accuracy": 1.0},
            },
        ),
        "server": {"validation": Evaluation(0.4, 0.9, 10), "test": Evaluation(0.5, 0.8, 20)},
        "bytes_up": 10,
        "bytes_down": 20,
        "seconds": 3.0,
    }
    return Round(**{**values, **changes})


def written(done):
    """The line as a reader of the file will see it."""
    return json.loads(json.dumps(plain(line_of(done))))


def test_a_line_holds_what_came_of_the_round():
    line = written(finished())
    assert line["train_loss"] == pytest.approx((1 * 1.0 + 3 * 2.0) / 4)
    assert (line["loss"], line["accuracy"], line["test_accuracy"]) == (0.4, 0.9, 0.8)
    assert (line["sampled"], line["replies"], line["train_seconds"]) == (3, 2, 2.0)
    assert line["dropped"] == [{"silo": 2, "reason": "disk is full", "while": "training"}]
    assert line["silo_accuracies"] == {"0": 1.0, "1": 0.5}
    assert (line["silo_accuracy_mean"], line["silo_accuracy_worst"], line["silo_accuracy_std"]) == (0.75, 0.5, 0.25)


def test_names_of_silos_are_told_once_and_hold_for_the_run():
    first, second = line_of(finished(number=1, names={1: "north"})), line_of(finished())
    assert plain(first)["silo_names"] == {1: "north"}
    assert "silo_names" not in plain(second)
    assert names_of([first, second]) == {1: "north"}
    assert captions.of_drops(second.dropped, {2: "south"}) == "1 reply not used: silo 2 (south): disk is full"


def test_a_line_says_how_many_samples_each_silo_trained_and_was_evaluated_on():
    line = written(finished())
    assert (line["silo_samples"], line["silo_held_out"]) == ({"0": 1, "1": 3}, {"0": 2, "1": 6})


def test_where_the_server_has_no_data_the_held_out_samples_of_all_silos_stand_for_a_validation_set():
    line = written(finished(server={}))
    assert line["loss"] == pytest.approx((6 * 0.8 + 2 * 0.4) / 8)
    assert line["accuracy"] == pytest.approx((6 * 0.5 + 2 * 1.0) / 8)
    assert (line["test_loss"], line["test_accuracy"]) == (None, None)


def test_what_was_not_measured_in_a_round_is_null_and_chooses_nothing():
    lines = [line_of(finished(number=n, server={}, evaluation=Exchange())) for n in (1, 2, 3)]
    assert {(line.loss, line.accuracy) for line in lines} == {(None, None)}
    assert best_line(lines, "accuracy").round == 3  # nothing was measured, so the last is as good as any
    assert figures(lines, "accuracy")["accuracy_auc"] is None
    measured = [lines[0], lines[1].model_copy(update={"accuracy": 0.2}), lines[2]]
    assert best_line(measured, "accuracy").round == 2
    assert figures(measured, "accuracy")["accuracy_auc"] == 0.2


def test_without_held_out_samples_there_are_no_silo_figures():
    line = written(finished(evaluation=Exchange()))
    assert line["silo_accuracies"] == {}
    assert line["silo_accuracy_worst"] is None


def test_best_is_chosen_on_validation_and_the_earliest_wins_a_tie():
    lines = [
        line_of(finished(number=n)).model_copy(update={"accuracy": validation, "test_accuracy": test})
        for n, validation, test in [(1, 0.5, 0.99), (2, 0.8, 0.6), (3, 0.8, 0.9), (4, 0.7, 0.7)]
    ]
    assert best_line(lines, "accuracy").round == 2
    summary = figures(lines, "accuracy")
    assert (summary["best_accuracy"], summary["rounds_to_best"]) == (0.8, 2)
    assert (summary["test_accuracy"], summary["final_accuracy"]) == (0.6, 0.7)
    assert summary["accuracy_auc"] == pytest.approx((0.5 + 0.8 + 0.8 + 0.7) / 4)
    assert (summary["bytes_up"], summary["bytes_down"]) == (40, 80)


def test_diagnostics_are_in_the_line_only_if_they_were_asked_for():
    assert "diagnostics" not in written(finished())
    found = Diagnostics(
        images=8,
        flip_rate=0.1,
        layers=(LayerGates("relu", "relu", 5, 0.1, 0.5, 0.6), LayerGates("pool", "max_pool", 5, 0.2, None, None)),
        averaging=AveragingGap(2, 0.5, 2.0, 0.25),
        drift=WeightDrift(1.0, 0.5, 40.0),
    )
    told = written(finished(diagnostics=found))["diagnostics"]
    assert (told["images"], told["flip_rate"]) == (8, 0.1)
    assert told["layers"][1] == {
        **{"layer": "pool", "kind": "max_pool", "gates": 5, "flip_rate": 0.2},
        **{"density": None, "own_density": None},
    }
    assert told["averaging"] == {"states": 2, "gap": 0.5, "spread": 2.0, "relative": 0.25}
    assert told["drift"] == {"mean": 1.0, "of_mean": 0.5, "start": 40.0}


def test_the_line_names_the_structure_in_force():
    assert line_of(finished(fingerprint="f" * 64)).fingerprint == "f" * 64


def test_accuracies_of_the_plain_form_are_null_without_one():
    best = {"validation": Evaluation(0.4, 0.9, 10), "test": Evaluation(0.5, 0.8, 20)}
    last = {"validation": Evaluation(0.4, 0.7, 10), "test": Evaluation(0.5, 0.6, 20)}
    names = ("plain_best_accuracy", "plain_test_accuracy", "plain_final_validation_accuracy", "plain_final_accuracy")
    assert [plain_figures(best, last)[name] for name in names] == [0.9, 0.8, 0.7, 0.6]
    assert plain_figures(None, None) == plain_figures({}, {}) == dict.fromkeys(names)


def test_whatever_silos_say_of_themselves_a_line_can_be_kept():
    said = {"num-examples": 10**30, "loss": math.inf, "accuracy": math.nan}
    trained = {"num-examples": 4, "train_loss": 1.0, "train_seconds": -1e300, "unreadable-files": -5}
    done = finished(
        server={},
        training=Exchange(sampled=[0], metrics={0: trained}),
        evaluation=Exchange(sampled=[0], metrics={0: said}),
    )
    line = written(done)
    assert (line["loss"], line["accuracy"], line["silo_accuracies"]) == (None, None, {"0": None})
    assert (line["silo_held_out"], line["silo_unreadable"]) == ({"0": 2**63 - 1}, {})


def test_a_line_says_who_was_waited_for_where_anybody_was():
    assert "waited" not in plain(line_of(finished()))
    assert plain(line_of(finished(waited={2: 7.5, 1: 61.0})))["waited"] == {1: 61.0, 2: 7.5}


def test_measures_of_the_servers_sets_stand_in_the_line_and_those_of_test_with_intervals_in_the_summary():
    given = drawn(0, 60, 3)
    sets = {name: Evaluation(0.4, 0.9, 60, given) for name in ("validation", "test")}
    line, whole = written(finished(server=sets)), measure(given)
    assert line["measures"] == line["test_measures"]
    assert line["test_measures"]["macro_f1"] == whole.macro_f1
    assert line["test_measures"]["recalls"] == list(whole.recalls)
    assert "confusion" not in line["test_measures"]
    assert not {"held_out_measures", "silo_measures"} & line.keys()
    told = json.loads(json.dumps(plain(measured_on_test(given, seed=3))))
    assert told["confusion"] == whole.confusion.tolist()
    low, high = told["intervals"]["macro_f1"]
    assert low < whole.macro_f1 < high
    assert len(told["recall_intervals"]) == 3
    assert TestMeasures.model_validate_json(json.dumps(told)) == measured_on_test(given, seed=3)


def test_a_model_that_diverged_has_no_measures():
    given = drawn(0, 60, 3)
    diverged = replace(given, probabilities=given.probabilities * math.nan)
    line = written(finished(server={"validation": Evaluation(math.nan, 0.1, 60, diverged)}))
    assert not {"measures", "test_measures"} & line.keys()
    assert measured_on_test(diverged, seed=3) is None
