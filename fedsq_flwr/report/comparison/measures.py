"""The figures that are compared, each read from one run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fedsq_flwr.report.comparison.statistics import first_reached
from fedsq_flwr.report.numerals import within_reach
from fedsq_flwr.report.run import Run
from fedsq_flwr.settings.run import Selection

MEGABYTE = 1e6


@dataclass(frozen=True)
class Measure:
    """One figure of a run.

    ``title`` names it in a table, unit and all; ``split`` is the part of the data it looks at, which gives
    it the page's colour; ``read`` takes the run and the target accuracy; ``better`` says whether more is
    better, None where neither is; ``main`` has it in the first table.
    """

    key: str
    title: str
    split: str
    decimals: int
    better: bool | None
    main: bool
    read: Callable[[Run, float], float | None]


def rounds_to(run: Run, target: float) -> float:
    """Return the first round that reaches the target; for a run that never does, its rounds plus one."""
    reached = first_reached([(line.round, line.accuracy) for line in run.rounds], target)
    return float(reached if reached is not None else run.rounds[-1].round + 1)


def reaches(run: Run, target: float) -> bool:
    """Whether a round is at the target."""
    return rounds_to(run, target) <= run.rounds[-1].round


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / MEGABYTE


def _measured(split: str, name: str) -> Callable[[Run, float], float | None]:
    """Return what reads a measure of the best round on a split, where the run has it."""
    field = "measures" if split == "validation" else "test_measures"
    return lambda run, _: getattr(getattr(run.summary, field), name, None)


# fmt: off
# ruff: noqa: E501
BEST = Measure("best_accuracy", "Best", "validation", 3, True, True, lambda run, _: run.summary.best_accuracy)
MEAN = Measure("accuracy_auc", "Mean of rounds", "validation", 3, True, True, lambda run, _: run.summary.accuracy_auc)
FINAL = Measure(
    "final_validation_accuracy", "Last", "validation", 3, True, False, lambda run, _: run.rounds[-1].accuracy
)
ROUNDS = Measure("rounds_to_best", "Rounds to best", "validation", 1, False, False, lambda run, _: run.best_round)
TARGET = Measure("rounds_to_target", "Rounds to target", "validation", 1, False, True, rounds_to)
TEST = Measure("test_accuracy", "Of the best", "test", 3, True, True, lambda run, _: run.summary.test_accuracy)
FINAL_TEST = Measure("final_accuracy", "Last", "test", 3, True, True, lambda run, _: run.summary.final_accuracy)
PLAIN_TEST = Measure("plain_test_accuracy", "Of the best, own ReLUs", "test", 3, True, False, lambda run, _: run.summary.plain_test_accuracy)
WORST_SILO = Measure("silo_accuracy_worst", "Worst silo", "silos", 3, True, True, lambda run, _: run.summary.silo_accuracy_worst)
MEAN_SILO = Measure("silo_accuracy_mean", "Mean silo", "silos", 3, True, False, lambda run, _: run.summary.silo_accuracy_mean)
LOSS = Measure("best_loss", "Loss of the best", "validation", 3, False, False, lambda run, _: run.summary.best_loss)
BALANCED = Measure("balanced_accuracy", "Balanced accuracy", "validation", 3, True, False, _measured("validation", "balanced_accuracy"))
F1 = Measure("macro_f1", "Macro-F1", "validation", 3, True, False, _measured("validation", "macro_f1"))
AUROC = Measure("auroc", "AUROC", "validation", 3, True, False, _measured("validation", "auroc"))
TEST_BALANCED = Measure("test_balanced_accuracy", "Balanced accuracy", "test", 3, True, False, _measured("test", "balanced_accuracy"))
TEST_F1 = Measure("test_macro_f1", "Macro-F1", "test", 3, True, False, _measured("test", "macro_f1"))
TEST_AUROC = Measure("test_auroc", "AUROC", "test", 3, True, False, _measured("test", "auroc"))
TEST_ECE = Measure("test_expected_calibration_error", "Calibration error", "test", 3, False, False, _measured("test", "expected_calibration_error"))
UP = Measure("megabytes_up", "MB up", "", 1, None, False, lambda run, _: _megabytes(run.summary.bytes_up))
DOWN = Measure("megabytes_down", "MB down", "", 1, None, False, lambda run, _: _megabytes(run.summary.bytes_down))
WALL = Measure("wall_seconds", "Wall s", "", 1, None, False, lambda run, _: run.summary.wall_seconds)
TRAIN = Measure("train_seconds", "Train s", "", 1, None, False, lambda run, _: run.summary.train_seconds)

#: In the order of the tables' columns, those of a split side by side.
MEASURES = (
    BEST, MEAN, FINAL, ROUNDS, TARGET, LOSS, BALANCED, F1, AUROC,
    TEST, FINAL_TEST, PLAIN_TEST, TEST_BALANCED, TEST_F1, TEST_AUROC, TEST_ECE, WORST_SILO, MEAN_SILO, UP, DOWN, WALL, TRAIN
)
#: In no table: what settings are chosen by, the higher the better.
SCORE = Measure("score", "Score", "validation", 3, True, False, lambda run, _: run.summary.score)
# fmt: on
#: By ``select_by``, the measure on validation that chooses, and the one on test that goes with it.
SELECTING: Mapping[Selection, tuple[Measure, Measure]] = MappingProxyType(
    {
        "accuracy": (BEST, TEST),
        "loss": (LOSS, TEST),
        "balanced_accuracy": (BALANCED, TEST_BALANCED),
        "macro_f1": (F1, TEST_F1),
        "auroc": (AUROC, TEST_AUROC),
    }
)
SPLITS = {"validation": "Validation", "test": "Test", "silos": "Silos' own samples", "": "Cost"}


def read(measure: Measure, run: Run, target: float) -> float | None:
    """Read a figure; None if it was not measured or is not finite."""
    value = within_reach(measure.read(run, target))
    return None if value is None else float(value)
