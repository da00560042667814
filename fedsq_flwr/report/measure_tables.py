"""The measures of a run as the page and the terminal show them: a row each, and a row a class."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fedsq_flwr.records.history import Measures
from fedsq_flwr.records.summary import Interval, Summary, TestMeasures
from fedsq_flwr.report import numerals
from fedsq_flwr.report.run import Run

MOST_CLASSES = 30  # of a confusion matrix that is shown
#: The measures by their names in the files, in the order of tables.
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro-F1",
        "auroc": "AUROC",
        "expected_calibration_error": "calibration error",
        "loss": "loss",
    }
)


@dataclass(frozen=True)
class MeasureRow:
    """A measure on the test set, of the best and the last round with their intervals, and of the best elsewhere."""

    key: str
    test: str
    test_interval: str
    final: str
    final_interval: str
    validation: str
    held_out: str


@dataclass(frozen=True)
class ClassRow:
    """A class: its recall with its interval, and its row of the confusion matrix if that is shown."""

    name: str
    recall: str
    interval: str
    cells: tuple[int, ...]


def measure_rows(summary: Summary) -> list[MeasureRow]:
    """Return a row for each measure; none of a run that has no measures beside loss and accuracy."""
    if not (summary.measures or summary.test_measures or summary.held_out_measures):
        return []
    accuracies = summary.test_accuracy, summary.final_accuracy, summary.best_accuracy, None
    sets = summary.test_measures, summary.final_measures, summary.measures, summary.held_out_measures
    rows = []
    for key in NAMES:
        values = accuracies if key == "accuracy" else [getattr(each, key, None) for each in sets]
        test, final, validation, held_out = map(numerals.accuracy, values)
        intervals = [_named(each, key) for each in (summary.test_measures, summary.final_measures)]
        if key != "loss":
            rows.append(MeasureRow(key, test, intervals[0], final, intervals[1], validation, held_out))
    return rows


def class_rows(run: Run) -> list[ClassRow]:
    """Return a row for each class, of the best round on the test set, else on validation."""
    summary = run.summary
    told, test = summary.test_measures or summary.measures or summary.held_out_measures, summary.test_measures
    if told is None:
        return []
    names = run.class_names
    matrix = shown_matrix(summary) or [()] * len(told.recalls)
    intervals = test.recall_intervals if test and test.recall_intervals else [None] * len(told.recalls)
    return [
        ClassRow(
            names[label] if label < len(names) else str(label),
            numerals.accuracy(recall),
            written(intervals[label]) if label < len(intervals) else "",
            tuple(matrix[label]) if label < len(matrix) else (),
        )
        for label, recall in enumerate(told.recalls)
    ]


def shown_matrix(summary: Summary) -> tuple[tuple[int, ...], ...]:
    """Return the confusion matrix of the test set, else of the silos; empty if there is none, or a very large one."""
    told: Measures | None = summary.test_measures or summary.held_out_measures
    matrix = (told.confusion if told else None) or ()
    return matrix if len(matrix) <= MOST_CLASSES else ()


def selected(summary: Summary) -> str:
    """Write the measure that chose the best round, with its value there."""
    return f"{NAMES[summary.select_by]} ({numerals.accuracy(None if summary.score is None else abs(summary.score))})"


def written(interval: Interval) -> str:
    """Write both ends of an interval; empty where there is none."""
    return "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def about_measures(summary: Summary) -> str:
    """Say what the measures are, and what of them is undefined."""
    told = (
        "AUROC: each class against the rest, mean over the classes. Calibration error: the expected one. "
        "Brackets: 95 % intervals of a bootstrap over the test samples; other seeds are not in them."
    )
    together = summary.held_out_measures
    own = summary.measures if summary.measures != together else None
    sets = {"the test set": summary.test_measures, "validation": own}
    lacking = [name for name, measures in sets.items() if measures and measures.auroc is None]
    if lacking:
        told += f" AUROC is undefined on {' and '.join(lacking)}, where a class has no sample."
    if together is not None:
        told += (
            " Silos together: of all samples that they hold out, but AUROC is the mean over the silos that have "
            f"every class ({together.auroc_sets or 0} of them), weighted by samples."
        )
    return told


def _named(measures: TestMeasures | None, key: str) -> str:
    return written(measures.intervals.get(key)) if measures else ""
