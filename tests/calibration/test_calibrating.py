"""`fedsq calibrate`: one grid for every method, a choice by validation, a file that runs can use."""

from pathlib import Path

import pytest
import yaml

from fedsq_flwr.cli import main
from fedsq_flwr.commands.calibrate import ValidationProgress
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.settings.composition import compose_settings

SMALL = ("learning_rate=0.1,0.2", "weight_decay=0", "linear_probing_rounds=0")


def calibrate(*words: str, methods: str = "fedsq,fedavg", grid: tuple[str, ...] = SMALL) -> int:
    return main(["calibrate", "--methods", methods, "--output", "c.yaml", *grid, *words])


def written() -> dict:
    return yaml.safe_load(Path("c.yaml").read_text())


def test_every_method_has_the_same_tries_on_data_in_one_place(runs):
    assert calibrate("seed=0,1", "rounds=3") == 0
    tried = {
        method: sorted((c.learning_rate, c.seed, c.rounds) for c in runs.done if c.method.name == method)
        for method in ("fedsq", "fedavg")
    }
    assert tried["fedsq"] == tried["fedavg"] == [(rate, seed, 3) for rate in (0.1, 0.2) for seed in (0, 1)]
    assert {(c.silos, c.partition.name, c.executor.name) for c in runs.done} == {(1, "iid", "inprocess")}


def test_what_is_no_single_value_is_refused_before_anything_runs(runs, capsys):
    assert calibrate("data.classes=[1,2],[3,4]") == 1
    assert "data.classes: is not a single value" in capsys.readouterr().err
    assert runs.done == []


def test_nothing_is_chosen_from_a_part_of_the_tries(runs, monkeypatch, capsys):
    shown = ValidationProgress.add
    monkeypatch.setattr(
        ValidationProgress, "add", lambda self, event: None if event.number == 1 else shown(self, event)
    )
    assert calibrate(methods="fedsq") == 1
    assert "it is known of 1 of 2 tries how they ended; the same command goes on" in capsys.readouterr().err
    assert not Path("c.yaml").exists()


def test_each_method_gets_the_values_that_validate_best(runs, capsys):
    runs.accuracy = lambda c: c.learning_rate if c.method.name == "fedsq" else 1 - c.learning_rate
    assert calibrate() == 0
    assert written()["methods"] == {"fedsq": {"learning_rate": 0.2}, "fedavg": {"learning_rate": 0.1}}
    assert "fedsq: learning_rate=0.2  validation 0.200" in capsys.readouterr().out


def test_a_choice_to_be_doubted_is_told(runs, capsys):
    rates = ("learning_rate=0.1,0.2,0.3", "weight_decay=0,1", "linear_probing_rounds=0")
    runs.accuracy = lambda c: c.learning_rate if c.method.name == "fedsq" else 0.5
    assert calibrate(grid=rates) == 0
    said = capsys.readouterr().out.splitlines()
    below = {line.partition(":")[0]: said[place + 1] for place, line in enumerate(said) if "  validation" in line}
    assert below["fedsq"] == "  learning_rate=0.3 is the highest that was tried"
    assert below["fedavg"] == "  all 6 tries end alike: this grid, or this task, does not tell them apart"
    runs.accuracy = lambda c: 1 - abs(c.learning_rate - 0.2)
    assert calibrate("rounds=2", methods="fedsq", grid=rates) == 0
    assert "tried" not in capsys.readouterr().out


def test_the_mean_over_seeds_decides_then_the_mean_over_rounds_then_the_order(runs):
    by_seed = {(0.1, 0): 0.9, (0.1, 1): 0.1, (0.2, 0): 0.6, (0.2, 1): 0.6}
    runs.accuracy = lambda c: by_seed[c.learning_rate, c.seed]
    calibrate("seed=0,1", methods="fedsq")
    assert written()["methods"]["fedsq"] == {"learning_rate": 0.2}
    assert written()["tries"][1] == {
        "method": "fedsq",
        "learning_rate": 0.2,
        "best_accuracy": 0.6,
        "accuracy_auc": 0.25,
        "chosen": True,
    }


@pytest.mark.parametrize(("mean", "rate"), [(lambda c: c.learning_rate, 0.2), (lambda _: 0.5, 0.1)])
def test_ties_of_the_best_are_decided_by_the_mean_over_rounds_and_then_by_the_order(runs, mean, rate):
    runs.mean = mean
    calibrate(methods="fedsq")
    assert written()["methods"]["fedsq"] == {"learning_rate": rate}


def test_the_default_grid_varies_what_its_file_says_and_an_override_may_add(runs):
    calibrate("learning_rate=0.1", "momentum=0.5,0.9", grid=(), methods="fedsq")
    assert {(c.weight_decay, c.linear_probing_rounds, c.momentum) for c in runs.done} == {
        (decay, head, momentum) for decay in (0, 0.0001) for head in (0, 1) for momentum in (0.5, 0.9)
    }
    assert written()["methods"]["fedsq"].keys() == {"weight_decay", "linear_probing_rounds", "momentum"}
    assert "learning_rate=0.1" in written()["common"]


def test_what_makes_a_method_is_left_out_of_the_default_grid_for_all_and_refused_if_asked_for(runs, capsys):
    calibrate("learning_rate=0.1,0.2", grid=(), methods="fedavg,head_only")
    assert written()["methods"]["fedavg"].keys() == {"learning_rate", "weight_decay"}
    assert {c.linear_probing_rounds for c in runs.done if c.method.name == "head_only"} == {10}
    assert calibrate("linear_probing_rounds=0,1", grid=(), methods="fedavg,head_only") == 1
    assert "linear_probing_rounds: is set by head_only itself" in capsys.readouterr().err


def test_what_a_method_alone_has_is_chosen_for_this_method(runs):
    runs.accuracy = lambda c: c.method.averaging.mu
    assert calibrate("method.mu=0.01,0.1", grid=("learning_rate=0.1", *SMALL[1:]), methods="fedprox,fedsq_prox") == 0
    assert written()["methods"] == {"fedprox": {"method.mu": 0.1}, "fedsq_prox": {"method.mu": 0.1}}
    used = compose_settings(["calibration=c.yaml", "method=fedsq_prox"])
    assert (used.method.averaging.mu, used.calibration) == (0.1, None)


def test_a_second_call_runs_only_what_is_missing(runs):
    calibrate(methods="fedsq")
    calibrate("seed=0,1")
    tried = [(c.method.name, c.seed, c.learning_rate) for c in runs.done]
    assert len(tried) == len(set(tried)) == 8
    assert written()["seeds"] == [0, 1]


def test_the_test_accuracy_is_neither_shown_nor_kept(runs, capsys):
    calibrate()
    assert "0.333" not in capsys.readouterr().out
    assert "test" not in Path("c.yaml").read_text()


def test_a_try_that_diverges_is_a_result_and_never_chosen(runs):
    def accuracy(config):
        if config.learning_rate == 0.2:
            raise RunFailedError("round 1: 0 usable replies (silo 0: array 'w' holds values that are not finite)")
        return 0.1

    runs.accuracy = accuracy
    assert calibrate() == 0
    assert written()["methods"]["fedavg"] == {"learning_rate": 0.1}
    diverged = [row for row in written()["tries"] if row["learning_rate"] == 0.2]
    assert [(row["best_accuracy"], row["diverged_seeds"]) for row in diverged] == [(None, [0]), (None, [0])]


def test_where_all_diverge_or_one_fails_otherwise_there_is_no_file(runs, capsys):
    def diverge(config):
        raise RunFailedError("values that are not finite")

    def fail(config):
        raise RunFailedError("no space left")

    runs.accuracy = diverge
    assert calibrate(methods="fedsq") == 1
    assert "every try of fedsq diverged" in capsys.readouterr().err
    runs.accuracy = fail
    assert calibrate(methods="fedsq") == 1
    assert "no space left" in capsys.readouterr().err
    runs.accuracy = lambda _: None
    assert calibrate(methods="fedsq") == 1
    assert "has no validation accuracy" in capsys.readouterr().err
    assert not Path("c.yaml").exists()


def test_by_the_loss_the_lowest_is_chosen_and_told_as_it_is(runs, capsys):
    runs.accuracy = lambda c: c.learning_rate  # the fake's loss, too
    assert calibrate("select_by=loss", methods="fedsq") == 0
    assert written()["methods"] == {"fedsq": {"learning_rate": 0.1}}
    assert [each["best_loss"] for each in written()["tries"]] == [0.1, 0.2]
    assert "fedsq: learning_rate=0.1  validation loss 0.100" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("select_by=loss,accuracy",), "select_by: has several values; tries are compared by one measure"),
        (("method=fedsq",), "method=fedsq: not in a calibration; methods are named by --methods"),
        (("--methods", "fedsq,fedsq"), "--methods fedsq,fedsq: must be methods that differ"),
        (("--methods", "fedsq,nope"), "nope"),
        (("-m",), "-m: there is no such option"),
        (("learning_rte=0.1,0.2",), "learning_rte: there is no such setting; did you mean learning_rate or "),
        (("wire=float16,float32",), "wire: is called wire_dtype since version 0.2"),
        (("partition=iid,dirichlet",), "partition: is not a single value"),
        (("partition.alpha=0.1,0.5",), "partition.alpha: is no setting of partition=iid"),
        (("method.mu=0.1,0.5", "--methods", "fedprox,fedsq"), "method.mu: is no setting of method=fedsq"),
        (("learning_rate=-1,0.1",), "learning_rate=-1: must be above 0"),
        (("--output", "c.txt"), "--output c.txt: must end in .yaml"),
        (("--output", "other.yaml"), "--output other.yaml: is there, and no calibration"),
    ],
)
def test_bad_words_are_told_in_one_line(runs, words, told, capsys):
    Path("other.yaml").write_text("a: 1\n")
    assert calibrate(*words) == 1
    assert told in capsys.readouterr().err
    assert not Path("c.yaml").exists()


def test_a_grid_without_a_choice_is_refused(runs, capsys):
    assert calibrate(grid=("learning_rate=0.1", "weight_decay=0", "linear_probing_rounds=0")) == 1
    assert "needs a setting with several values" in capsys.readouterr().err


def test_what_is_written_can_be_used(runs):
    runs.accuracy = lambda c: c.learning_rate
    calibrate("batch_norm=batch,frozen")
    config = compose_settings(["calibration=c.yaml", "method=fedavg"])
    assert (config.learning_rate, config.batch_norm) == (0.2, "batch")
