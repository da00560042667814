"""From runs to cells: the runs of one method at one setting under one condition, one a seed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedsq_flwr.report.comparison.cells import Arm, Cell, Condition, Groups
from fedsq_flwr.report.comparison.collecting import Entry, State
from fedsq_flwr.report.comparison.conditions import conditions_of
from fedsq_flwr.report.comparison.settings import (
    METHOD,
    METHOD_GROUP,
    POOLED,
    Chosen,
    Values,
    comparable,
    describe,
    is_condition,
    is_of_sharing,
    is_tuned,
    pick,
    varying,
)
from fedsq_flwr.report.records import Run


def group(entries: Sequence[Entry], baseline: str | None) -> Groups:
    """Sort runs into cells.

    Parameters
    ----------
    entries : Sequence[Entry]
        All runs; those without a readable round are kept, but belong to no cell.
    baseline : str or None
        The method whose arms come first; the others follow by name.
    """
    settings = [comparable(entry.values) for entry in entries]
    shown = [values for values, entry in zip(settings, entries, strict=True) if entry.run] or settings
    shared_out = [values for values in shown if not values.get(POOLED)] or shown
    apart = varying(shared_out)
    names = [name for name in varying(shown) if name in apart or not is_of_sharing(name)]
    of_condition = [name for name in names if is_condition(name)]
    of_arm = [name for name in names if not is_condition(name) and name != METHOD]
    tuned = [name for name in of_arm if is_tuned(name, shown)]
    choices = [name for name in of_arm if name not in tuned]
    found = conditions_of(entries, settings, of_condition, names)
    sorter = _Sorter()
    for entry, values, its in zip(entries, settings, found, strict=True):
        setting = pick(values, _telling(values, tuned, shown))
        arm = _arm(values, choices, shown)
        sorter.add(entry, [Cell(condition, arm, setting, describe(setting, names)) for condition in its])
    cells = sorter.cells.values()
    conditions = sorted({cell.condition for cell in cells}, key=lambda item: _order(item.chosen))
    arms = sorted(
        {cell.arm for cell in cells}, key=lambda arm: (arm.method != baseline, arm.method, _order(arm.choices))
    )
    return Groups(
        entries=tuple(sorter.kept),
        names=tuple(names),
        tuned=tuple(tuned),
        conditions=tuple(conditions),
        arms=tuple(arms),
        cells=tuple(
            sorted(
                cells, key=lambda cell: (conditions.index(cell.condition), arms.index(cell.arm), _order(cell.setting))
            )
        ),
        seeds=tuple(sorted({entry.run.settings.seed for entry in entries if entry.run})),
        homes=sorter.homes,
    )


class _Sorter:
    """Puts runs into cells; of two with the same settings and seed the first counts."""

    def __init__(self) -> None:
        self.cells: dict[tuple[Condition, Arm, Chosen], Cell] = {}
        self.kept: list[Entry] = []
        self.homes: dict[Path, list[Cell]] = {}
        self._names: dict[Path, str] = {}

    def add(self, entry: Entry, empty: Sequence[Cell]) -> None:
        """Put a run into its cells, which may be there already."""
        if entry.run is not None:
            self.homes[entry.directory] = [replace(each, runs={}) for each in empty]
            for each in empty:
                cell = self.cells.setdefault((each.condition, each.arm, each.setting), each)
                entry = self._placed(entry, entry.run, cell)
        self.kept.append(entry)

    def _placed(self, entry: Entry, run: Run, cell: Cell) -> Entry:
        first = cell.runs.get(run.settings.seed)
        if entry.state is State.FINISHED and first is not None:
            problem = f"same settings and seed as {self._names[first.directory]}, which is counted"
            return replace(entry, state=State.REPEATED, problem=problem)
        if entry.state is State.FINISHED:
            cell.runs[run.settings.seed] = run
            self._names[run.directory] = entry.name
        return entry


def _arm(values: Values, choices: Sequence[str], runs: Sequence[Values]) -> Arm:
    """Name an arm by its method, and by those choices that the method alone does not settle."""
    method = str(values.get(METHOD))
    chosen = pick(values, _telling(values, choices, runs))
    return Arm(method, chosen, ", ".join(filter(None, (method, describe(chosen, choices)))))


def _telling(values: Values, names: Sequence[str], runs: Sequence[Values]) -> list[str]:
    """Leave out the method's own settings that are the same in all runs of this method."""
    within = varying([other for other in runs if other.get(METHOD) == values.get(METHOD)])
    return [name for name in names if name in within or not name.startswith(METHOD_GROUP)]


def _order(chosen: Chosen) -> list[tuple[str, bool, float, str]]:
    """Sort numbers as numbers, and texts after them."""
    return [
        (
            name,
            not isinstance(value, int | float),
            float(value) if isinstance(value, int | float) else 0.0,
            str(value),
        )
        for name, value in chosen
    ]
