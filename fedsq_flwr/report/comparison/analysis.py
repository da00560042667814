"""The comparison itself: figures of cells, each method's best setting, differences to the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.report.comparison import measures
from fedsq_flwr.report.comparison.cells import Cell, Condition, Groups
from fedsq_flwr.report.comparison.choosing import best_setting, mean_best, reference, same_setting, values_by_seed
from fedsq_flwr.report.comparison.collecting import Entry, State
from fedsq_flwr.report.comparison.grouping import group
from fedsq_flwr.report.comparison.measures import MEASURES
from fedsq_flwr.report.comparison.settings import METHOD
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


def _section(groups: Groups, condition: Condition, target: float | None, baseline: str | None) -> Section:
    cells = groups.of(condition)
    best = [best_setting(groups.of(condition, arm)) for arm in groups.arms if groups.of(condition, arm)]
    if target is None:
        target = round(TARGET_SHARE * max(map(mean_best, best), default=0.0), 3)
    references = [cell for cell in best if cell.arm.method == baseline]
    return Section(
        condition,
        target,
        tuple(_row(cell, reference(cell, references), target) for cell in best),
        tuple(_row(cell, same_setting(cell, cells, references), target) for cell in cells),
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
