"""Groups runs into cells: one method at one tuned value under one condition, one run for each seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedsq_flwr.report.captions import about_partition
from fedsq_flwr.report.comparison.collecting import Entry, State
from fedsq_flwr.report.comparison.settings import (
    METHOD,
    METHOD_GROUP,
    POOLED,
    Chosen,
    Values,
    describe,
    is_condition,
    is_of_sharing,
    is_tuned,
    pick,
    varying,
)
from fedsq_flwr.report.run import Run


@dataclass(frozen=True)
class Arm:
    """A method: its name, and its other settings that are not tuned."""

    method: str
    choices: Chosen
    label: str


@dataclass(frozen=True)
class Condition:
    """Settings that all arms face alike."""

    chosen: Chosen
    label: str


@dataclass(frozen=True)
class Cell:
    """Runs of an arm at one setting under one condition: the finished ones by seed, and the seeds of all."""

    condition: Condition
    arm: Arm
    setting: Chosen
    label: str  # of the setting
    runs: dict[int, Run] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Groups:
    """All runs, grouped.

    Attributes
    ----------
    entries : tuple of Entry
        The runs.
    names : tuple of str
        The settings that vary.
    tuned : tuple of str
        Those of them that are tuned.
    conditions, arms, cells : tuple
        In the order in which they are shown.
    seeds : tuple of int
        All seeds.
    homes : dict
        Of a run's directory the places where it belongs: an empty cell in each condition.
    """

    entries: tuple[Entry, ...]
    names: tuple[str, ...]
    tuned: tuple[str, ...]
    conditions: tuple[Condition, ...]
    arms: tuple[Arm, ...]
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    homes: dict[Path, list[Cell]]

    def of(self, condition: Condition, arm: Arm | None = None) -> list[Cell]:
        """Return a condition's cells, or those of one arm among them."""
        return [cell for cell in self.cells if cell.condition == condition and arm in (None, cell.arm)]


def group(entries: Sequence[Entry], baseline: str | None) -> Groups:
    """Sort runs into cells.

    Parameters
    ----------
    entries : Sequence[Entry]
        All runs; those without a readable round are kept, but belong to no cell.
    baseline : str or None
        The method whose arms come first; the others follow by name.
    """
    shown = [entry.values for entry in entries if entry.run] or [entry.values for entry in entries]
    distributed = [values for values in shown if not values.get(POOLED)] or shown
    apart = varying(distributed)
    names = [name for name in varying(shown) if name in apart or not is_of_sharing(name)]
    of_arm = [name for name in names if not is_condition(name) and name != METHOD]
    tuned = [name for name in of_arm if is_tuned(name, shown)]
    choices = [name for name in of_arm if name not in tuned]
    sorter = _Sorter()
    for entry, its in zip(entries, _conditions(entries, names), strict=True):
        setting = pick(entry.values, _telling(entry.values, tuned, shown))
        arm = _arm(entry.values, choices, shown)
        sorter.add(entry, [Cell(condition, arm, setting, describe(setting, names)) for condition in its])
    cells = sorter.cells.values()
    for entry in entries:  # those that died before their first round, too
        chosen = pick(entry.values, [name for name in names if is_condition(name)])
        setting, arm = pick(entry.values, _telling(entry.values, tuned, shown)), _arm(entry.values, choices, shown)
        for cell in cells:
            same = (cell.condition.chosen, cell.setting, cell.arm) == (chosen, setting, arm)
            if same and entry.seed is not None:
                cell.asked.add(entry.seed)
    conditions = sorted({cell.condition for cell in cells}, key=lambda each: _order(each.chosen))
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
                cell.asked.add(entry.run.settings.seed)
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


def _conditions(entries: Sequence[Entry], names: Sequence[str]) -> list[list[Condition]]:
    """Return the conditions of each run: mostly one, and none without a readable round.

    A method that has all samples in one place goes beside the others, since what it shows is the price of
    distributing them: it is in each of their conditions that differs in how samples are distributed alone.
    """
    own = []
    for entry in entries:
        chosen = pick(entry.values, [name for name in names if is_condition(name)])
        label = describe(chosen, names) or (about_partition(entry.run.settings) if entry.run else "")
        own.append(Condition(chosen, label))
    runs = [(each, entry) for each, entry in zip(own, entries, strict=True) if entry.run]
    others = list(dict.fromkeys(each for each, entry in runs if not entry.values.get(POOLED)))

    def beside(condition: Condition) -> list[Condition]:
        return [each for each in others if _undistributed(each) == _undistributed(condition)]

    return [
        ((entry.values.get(POOLED) and beside(condition)) or [condition]) if entry.run else []
        for entry, condition in zip(entries, own, strict=True)
    ]


def _undistributed(condition: Condition) -> list[tuple[str, object]]:
    return [(name, value) for name, value in condition.chosen if not is_of_sharing(name)]


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
        (name, not isinstance(value, int | float), value if isinstance(value, int | float) else 0.0, str(value))
        for name, value in chosen
    ]
