"""Choosing cells: each method's best setting, and the baseline's cell that another one is compared with."""

from collections.abc import Sequence

from fedsq_flwr.report.comparison import measures
from fedsq_flwr.report.comparison.cells import Arm, Cell
from fedsq_flwr.report.comparison.measures import Measure
from fedsq_flwr.report.comparison.settings import METHOD_GROUP
from fedsq_flwr.report.comparison.statistics import spread


def values_by_seed(cell: Cell, measure: Measure, target: float) -> dict[int, float]:
    """Return a figure of each run that has it."""
    values = {seed: measures.read(measure, run, target) for seed, run in sorted(cell.runs.items())}
    return {seed: value for seed, value in values.items() if value is not None}


def best_setting(cells: Sequence[Cell]) -> Cell:
    """Choose by mean best validation accuracy, among the settings with the most seeds; the first of equals."""
    return max(cells, key=lambda cell: (len(values_by_seed(cell, measures.BEST, 0.0)), mean_best(cell)))


def mean_best(cell: Cell) -> float:
    """Return the mean best validation accuracy; 0 without a finished run.

    It is rounded: means of other values that are equal as fractions may differ in their last bit.
    """
    found = spread(list(values_by_seed(cell, measures.BEST, 0.0).values()))
    return round(found.mean, 9) if found else 0.0


def reference(cell: Cell, references: Sequence[Cell]) -> Cell | None:
    """Return the baseline's cell that shares the most choices with a cell: frozen batch norm goes with frozen."""
    if cell.arm.method in {each.arm.method for each in references}:
        return None
    return max(references, key=lambda each: (_shared(cell.arm, each.arm), mean_best(each)), default=None)


def same_setting(cell: Cell, cells: Sequence[Cell], references: Sequence[Cell]) -> Cell | None:
    """Return the baseline's cell at the same tuned settings, apart from those of the methods themselves."""
    chosen = reference(cell, references)
    if chosen is None:
        return None
    candidates = [
        other for other in cells if other.arm == chosen.arm and _common(other.setting) == _common(cell.setting)
    ]
    return best_setting(candidates) if candidates else None


def _common(setting: tuple[tuple[str, object], ...]) -> dict[str, object]:
    return {name: value for name, value in setting if not name.startswith(METHOD_GROUP)}


def _shared(one: Arm, other: Arm) -> int:
    return len(set(one.choices) & set(other.choices))
