"""The comparison itself: figures of cells, each method's best setting, differences to the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.report.comparison import measures
from fedsq_flwr.report.comparison.collecting import Entry, State
from fedsq_flwr.report.comparison.grouping import Arm, Cell, Condition, Groups, group
from fedsq_flwr.report.comparison.measures import MEASURES, Measure
from fedsq_flwr.report.comparison.settings import METHOD, METHOD_GROUP
from fedsq_flwr.report.comparison.statistics import Difference, Spread, paired_difference, spread
from fedsq_flwr.settings.run import Selection

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
    select_by: Selection = "accuracy"

    @property
    def selecting(self) -> Measure:
        """Return the measure on validation that chose each method's best setting, and each run's best round."""
        return measures.SELECTING[self.select_by][0]

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


#: For each method the values of a setting, in order, with their rows.
Tried = dict[Arm, list[tuple[float, Row]]]


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
    methods = sorted({str(entry.values[METHOD]) for entry in entries if entry.run})
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


def tried(section: Section, setting: str) -> Tried:
    """Return the values of a tuned setting with their rows, in order, for each method with finished runs at several.

    Where other settings were tuned too, a value's row is the best of them.
    """
    found = {}
    for arm in dict.fromkeys(row.cell.arm for row in section.rows):
        pairs = [
            (dict(row.cell.setting)[setting], row)
            for row in section.rows
            if row.cell.arm == arm and row.n and setting in dict(row.cell.setting)
        ]
        pairs.sort(key=lambda pair: pair[0])
        best = [
            (value, max((row for _, row in same), key=lambda row: _merit(row.cell)))
            for value, same in groupby(pairs, key=lambda pair: pair[0])
        ]
        if len(best) > 1:
            found[arm] = best
    return found


def at_the_edge(section: Section, setting: str) -> list[str]:
    """Name the methods whose best setting is the lowest or the highest that was tried."""
    told = []
    for arm, pairs in tried(section, setting).items():
        best = next(row for row in section.best if row.cell.arm == arm)
        value = dict(best.cell.setting)[setting]
        for edge, word in ((pairs[0][0], "lowest"), (pairs[-1][0], "highest")):
            if value == edge:
                told.append(f"{arm.label} ({value:g}, the {word})")
    return told


def _section(groups: Groups, condition: Condition, target: float | None, baseline: str | None) -> Section:
    cells = groups.of(condition)
    best = [_best_setting(groups.of(condition, arm)) for arm in groups.arms if groups.of(condition, arm)]
    if target is None:
        target = round(TARGET_SHARE * max(map(_mean_best, best), default=0.0), 3)
    references = [cell for cell in best if cell.arm.method == baseline]
    select_by = {run.settings.select_by for cell in cells for run in cell.runs.values()}  # the same: a condition
    return Section(
        condition,
        target,
        tuple(_row(cell, _reference(cell, references), target) for cell in best),
        tuple(_row(cell, _same_setting(cell, cells, references), target) for cell in cells),
        select_by.pop() if select_by else "accuracy",
    )


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


def _best_setting(cells: Sequence[Cell]) -> Cell:
    """Choose by the best rounds' mean score, among the settings with the most seeds; the first of equals."""
    return max(cells, key=_merit)


def _merit(cell: Cell) -> tuple[int, float]:
    return len(values_by_seed(cell, measures.SCORE, 0.0)), _mean_best(cell, measures.SCORE)


def _mean_best(cell: Cell, measure: Measure = measures.BEST) -> float:
    """Return the mean of a measure of the best rounds, by default validation accuracy; 0 without a finished run.

    It is rounded: means of other values that are equal as fractions may differ in their last bit.
    """
    found = spread(list(values_by_seed(cell, measure, 0.0).values()))
    return round(found.mean, 9) if found else 0.0


def _reference(cell: Cell, references: Sequence[Cell]) -> Cell | None:
    """Return the baseline's cell that shares the most choices with a cell: frozen batch norm goes with frozen."""
    if cell.arm.method in {each.arm.method for each in references}:
        return None
    shared = {each.arm: len(set(cell.arm.choices) & set(each.arm.choices)) for each in references}
    return max(references, key=lambda each: (shared[each.arm], _mean_best(each, measures.SCORE)), default=None)


def _same_setting(cell: Cell, cells: Sequence[Cell], references: Sequence[Cell]) -> Cell | None:
    """Return the baseline's cell at the same tuned settings, apart from those of the methods themselves."""
    chosen = _reference(cell, references)
    if chosen is None:
        return None
    candidates = [
        other for other in cells if other.arm == chosen.arm and _common(other.setting) == _common(cell.setting)
    ]
    return _best_setting(candidates) if candidates else None


def _common(setting: tuple[tuple[str, object], ...]) -> dict[str, object]:
    return {name: value for name, value in setting if not name.startswith(METHOD_GROUP)}
