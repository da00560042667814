"""The comparison itself: figures of cells, each method's best setting, differences to the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.report.comparison import measures
from fedsq_flwr.report.comparison.collecting import Entry, State
from fedsq_flwr.report.comparison.grouping import Arm, Cell, Condition, Groups, group
from fedsq_flwr.report.comparison.measures import MEASURES, Measure
from fedsq_flwr.report.comparison.settings import METHOD, METHOD_GROUP
from fedsq_flwr.report.comparison.statistics import Difference, Spread, paired_difference, spread

BASELINE = "fedavg"  # where it is among the runs and no other one is asked for
TARGET_SHARE = 0.95  # of the best mean, where no target is asked for


@dataclass(frozen=True)
class Row:
    """A cell's figures, by the measure's key, and its differences to the baseline's cell `against`."""

    cell: Cell
    spreads: dict[str, Spread]
    reached: int  # runs that reach the target
    against: Cell | None
    differences: dict[str, Difference]

    @property
    def n(self) -> int:
        """Finished runs, one a seed."""
        return len(self.cell.runs)


@dataclass(frozen=True)
class Section:
    """A condition: each arm at its best setting, and all cells."""

    condition: Condition
    target: float
    best: tuple[Row, ...]
    rows: tuple[Row, ...]

    @property
    def finished(self) -> list[Row]:
        """Return the best settings' rows that have a finished run."""
        return [row for row in self.best if row.n]


@dataclass(frozen=True)
class Comparison:
    """All that the page is made of."""

    groups: Groups
    baseline: str | None
    target_given: bool
    sections: tuple[Section, ...]

    @property
    def incomplete(self) -> list[Entry]:
        """Return the runs that are not averaged because they are not finished or cannot be read."""
        return [entry for entry in self.groups.entries if entry.state not in (State.FINISHED, State.REPEATED)]


def compare(entries: Sequence[Entry], target: float | None = None, baseline: str | None = None) -> Comparison:
    """Compare runs.

    Parameters
    ----------
    entries : Sequence[Entry]
        As `collect` finds them.
    target : float or None
        The validation accuracy of rounds-to-target; None for a share of each condition's best mean.
    baseline : str or None
        The method that the others are compared with; None for FedAvg, if it is there.

    Raises
    ------
    ConfigurationError
        If no run has the baseline that is asked for.
    """
    methods = sorted({str(entry.values[METHOD]) for entry in entries if METHOD in entry.values and entry.run})
    if baseline is not None and baseline not in methods:
        raise ConfigurationError(f"--baseline={baseline}: no run has this method; there are {', '.join(methods)}")
    chosen = baseline or (BASELINE if BASELINE in methods else None)
    groups = group(entries, chosen)
    sections = tuple(_section(groups, condition, target, chosen) for condition in groups.conditions)
    return Comparison(groups, chosen, target is not None, sections)


def values_by_seed(cell: Cell, measure: Measure, target: float) -> dict[int, float]:
    """Return a figure of each run that has it."""
    values = {seed: measures.read(measure, run, target) for seed, run in sorted(cell.runs.items())}
    return {seed: value for seed, value in values.items() if value is not None}


def best_setting(cells: Sequence[Cell]) -> Cell:
    """Choose by mean best validation accuracy, among the settings with the most seeds; the first of equals."""

    def rank(cell: Cell) -> tuple[int, float]:
        values = list(values_by_seed(cell, measures.BEST, 0.0).values())
        found = spread(values)
        return len(values), found.mean if found else 0.0

    return max(cells, key=rank)


def _section(groups: Groups, condition: Condition, target: float | None, baseline: str | None) -> Section:
    cells = groups.of(condition)
    best = [best_setting(groups.of(condition, arm)) for arm in groups.arms if groups.of(condition, arm)]
    if target is None:
        target = round(TARGET_SHARE * max(map(_mean_best, best), default=0.0), 3)
    references = [cell for cell in best if cell.arm.method == baseline]
    return Section(
        condition,
        target,
        tuple(_row(cell, _reference(cell, references), target) for cell in best),
        tuple(_row(cell, _same_setting(cell, cells, references), target) for cell in cells),
    )


def _reference(cell: Cell, references: Sequence[Cell]) -> Cell | None:
    """Return the baseline's cell that shares the most choices with a cell: frozen batch norm goes with frozen."""
    if cell.arm.method in {reference.arm.method for reference in references}:
        return None
    return max(
        references, key=lambda reference: (_shared(cell.arm, reference.arm), _mean_best(reference)), default=None
    )


def _same_setting(cell: Cell, cells: Sequence[Cell], references: Sequence[Cell]) -> Cell | None:
    """Return the baseline's cell at the same tuned settings, apart from those of the methods themselves."""
    reference = _reference(cell, references)
    if reference is None:
        return None
    candidates = [
        other for other in cells if other.arm == reference.arm and _common(other.setting) == _common(cell.setting)
    ]
    return best_setting(candidates) if candidates else None


def _common(setting: tuple[tuple[str, object], ...]) -> dict[str, object]:
    return {name: value for name, value in setting if not name.startswith(METHOD_GROUP)}


def _shared(one: Arm, other: Arm) -> int:
    return len(set(one.choices) & set(other.choices))


def _mean_best(cell: Cell) -> float:
    found = spread(list(values_by_seed(cell, measures.BEST, 0.0).values()))
    return found.mean if found else 0.0


def _row(cell: Cell, against: Cell | None, target: float) -> Row:
    spreads, differences = {}, {}
    for measure in MEASURES:
        values = values_by_seed(cell, measure, target)
        found = spread(list(values.values()))
        if found is not None:
            spreads[measure.key] = found
        # A run that never reaches the target has no round to be subtracted.
        if against is not None and (measure is not measures.TARGET or _all_reach(cell, against, target)):
            difference = paired_difference(values, values_by_seed(against, measure, target))
            if difference is not None:
                differences[measure.key] = difference
    return Row(cell, spreads, _reached(cell, target), against, differences)


def _reached(cell: Cell, target: float) -> int:
    return sum(measures.reaches(run, target) for run in cell.runs.values())


def _all_reach(cell: Cell, against: Cell, target: float) -> bool:
    return all(_reached(each, target) == len(each.runs) for each in (cell, against))
