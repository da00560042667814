"""Which round is the best by each measure, when a run ends early, and what its files then say."""

import json

import pytest

from fedsq_flwr.errors import ConfigurationError, DataError
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.history import Line, best_line, check_kept, stops_early
from fedsq_flwr.records.status import OccupiedError, RunStatus, run_status
from fedsq_flwr.records.summary import read_summary
from fedsq_flwr.report import read_run
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from tests.records.made import DIGITS, history_of, line
from tests.records.test_directory import MODEL, TASK, directory, keep, settings  # noqa: F401 - fixtures

MEASURES = {
    "balanced_accuracy": 0.5,
    "macro_f1": 0.5,
    "auroc": None,
    "expected_calibration_error": 0.1,
    "recalls": [],
}


def measured(number: int, **values: object) -> Line:
    plain = {name: values.pop(name) for name in ("loss", "accuracy") if name in values}
    return line(number, measures={**MEASURES, **values}, **plain)


LINES = [
    measured(1, accuracy=0.5, loss=0.9, macro_f1=0.6, balanced_accuracy=0.7, auroc=0.6),
    measured(2, accuracy=0.8, loss=0.7, macro_f1=0.7, balanced_accuracy=0.6, auroc=None),
    measured(3, accuracy=0.7, loss=0.6, macro_f1=0.7, balanced_accuracy=0.5, auroc=0.5),
    measured(4, accuracy=0.7, loss=float("nan"), macro_f1=None, balanced_accuracy=0.7, auroc=0.9),
]


@pytest.mark.parametrize(
    ("by", "best"), [("accuracy", 2), ("loss", 3), ("macro_f1", 2), ("balanced_accuracy", 1), ("auroc", 4)]
)
def test_the_best_round_is_the_earliest_of_the_best_by_the_measure(by, best, tmp_path) -> None:
    assert best_line(LINES, by).round == best
    check_kept(LINES, LINES[best - 1], tmp_path, best=by)
    with pytest.raises(DataError, match=f"but the best is round {best}"):
        check_kept(LINES, LINES[best % 4], tmp_path, best=by)


def test_where_no_round_has_the_measure_the_last_is_as_good_as_any() -> None:
    assert best_line([line(1), line(2)], "macro_f1").round == 2


@pytest.mark.parametrize(
    ("accuracies", "changes", "ends"),
    [
        ([0.5, 0.5, 0.5, 0.5], {"stop_after": 0}, None),
        ([0.5, 0.6, 0.5, 0.5], {"stop_after": 2}, 4),
        ([0.5, 0.6, 0.6, 0.6], {"stop_after": 2}, 4),  # as good is no improvement
        ([0.5, 0.6, 0.5, 0.7, 0.6, 0.7], {"stop_after": 2}, 6),
        ([0.5, 0.55, 0.6, 0.65], {"stop_after": 1, "stop_min_delta": 0.1}, 2),
        ([0.8, 0.9, 1.0], {"stop_after": 1, "stop_min_delta": 0.1}, None),  # 0.9 - 0.8 counts as 0.1
        ([0.5, 0.58, 0.6, 0.62], {"stop_after": 3, "stop_min_delta": 0.1}, None),  # little by little is one, too
        ([0.5, 0.4, 0.4, 0.4, 0.4], {"stop_after": 2, "evaluate_every": 2}, 4),
        ([None, None, None], {"stop_after": 2}, 2),
        ([0.5] * 10, {"stop_after": 9}, None),  # the last round ends the run in any case
    ],
)
def test_a_run_ends_early_after_rounds_without_an_improvement(accuracies, changes, ends) -> None:
    asked = DIGITS.changed(rounds=10, **changes)
    lines = [line(number, accuracy=accuracy) for number, accuracy in enumerate(accuracies, start=1)]
    stops = [number for number in range(1, len(lines) + 1) if stops_early(lines[:number], asked)]
    assert (stops[0] if stops else None) == ends


def test_the_measure_that_chooses_stops_too() -> None:
    lines = [measured(number, accuracy=0.1 * number, macro_f1=0.5) for number in range(1, 5)]
    asked = DIGITS.changed(rounds=10, stop_after=3)
    assert not stops_early(lines, asked)
    assert stops_early(lines, asked.changed(select_by="macro_f1"))
    falling = [measured(number, loss=1 / number) for number in range(1, 5)]
    assert not stops_early(falling, asked.changed(select_by="loss", stop_after=1))


def stopping(settings: RunSettings, **changes: object) -> RunSettings:  # noqa: F811
    return settings.changed(stop_after=1, **changes)


def test_a_run_that_ended_early_is_finished_and_says_so(settings, directory) -> None:  # noqa: F811
    settings = stopping(settings, rounds=5)
    RunDirectory(settings.output).open(settings, TASK)
    for number in (1, 2):
        keep(directory, number)
        assert not directory.has_stopped(settings)
    keep(directory, 3)
    assert directory.has_stopped(settings)
    directory.finish(settings, TASK, MODEL, {})
    summary = read_summary(directory.path)
    assert (summary.rounds, summary.stopped, summary.rounds_to_best) == (5, 3, 2)
    assert read_run(directory.path).finished
    assert run_status(directory.path, settings) is RunStatus.FINISHED
    for changes in ({"stop_after": 0}, {"stop_min_delta": 0.1}):
        with pytest.raises(OccupiedError, match=f"{next(iter(changes))}: differs from the finished run"):
            run_status(directory.path, settings.changed(**changes))
    again = RunDirectory(settings.output)
    assert again.open(settings.changed(resume=True), TASK).round == 4
    assert again.has_stopped(settings)  # so it runs no round
    assert not again.has_stopped(settings.changed(stop_after=2))  # which may be asked for, and goes on


def test_a_run_that_was_not_stopped_has_no_word_of_it(settings, directory) -> None:  # noqa: F811
    for number in (1, 2, 3):
        keep(directory, number)
    directory.finish(stopping(settings), TASK, MODEL, {})
    assert "stopped" not in json.loads((directory.path / "summary.json").read_text())


def test_the_checkpoint_of_the_best_round_is_that_of_the_measure(settings) -> None:  # noqa: F811
    settings = settings.changed(select_by="loss")  # the same in all rounds, so that the first is the best
    directory = RunDirectory(settings.output)  # noqa: F811
    directory.open(settings, TASK)
    for number in (1, 2, 3):
        keep(directory, number)
    assert directory.checkpoints.load("best")[1].round == 1
    directory.finish(settings, TASK, MODEL, {})
    summary = read_summary(directory.path)
    assert (summary.select_by, summary.rounds_to_best, summary.best_loss, summary.score) == ("loss", 1, 0.5, -0.5)
    assert read_run(directory.path).best_round == 1
    assert len(history_of(directory.path)) == 3


def test_where_each_silo_has_a_model_of_its_own_few_measures_choose() -> None:
    assert compose_settings(["method=local_only", "select_by=loss"])
    with pytest.raises(ConfigurationError, match=r"select_by=auroc: must be accuracy or loss"):
        compose_settings(["method=local_only", "select_by=auroc"])
