"""From runs to cells: the runs of one arm under one condition, one a seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedsq_flwr.report.captions import about_partition
from fedsq_flwr.report.comparison.collecting import Entry, State
from fedsq_flwr.report.comparison.settings import (
    ALPHA,
    METHOD,
    METHOD_GROUP,
    Chosen,
    Values,
    comparable,
    is_condition,
    is_tuned,
    pick,
    varying,
    wording,
)
from fedsq_flwr.report.records import Run


@dataclass(frozen=True)
class Arm:
    """A method: its name, and what else than its tuned settings tells it from others."""

    method: str
    choices: Chosen
    label: str


@dataclass(frozen=True)
class Condition:
    """What all arms have to cope with alike."""

    chosen: Chosen
    label: str

    @property
    def alpha(self) -> float | None:
        """The Dirichlet concentration, where it alone tells conditions apart."""
        chosen = dict(self.chosen)
        return chosen[ALPHA] if list(chosen) == [ALPHA] else None


@dataclass(frozen=True)
class Cell:
    """Runs of an arm at one setting under one condition: the finished ones by seed, and how many others."""

    condition: Condition
    arm: Arm
    setting: Chosen
    label: str  # of the setting
    runs: dict[int, Run] = field(default_factory=dict)
    unfinished: int = 0


@dataclass(frozen=True)
class Groups:
    """All runs, sorted out; `names` are the settings that vary, `tuned` those of them that are tuned."""

    entries: tuple[Entry, ...]
    names: tuple[str, ...]
    tuned: tuple[str, ...]
    conditions: tuple[Condition, ...]
    arms: tuple[Arm, ...]
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    homes: dict[Path, Cell]  # by a run's directory: where it belongs, an empty cell

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
    settings = [comparable(entry.values) for entry in entries]
    shown = [values for values, entry in zip(settings, entries, strict=True) if entry.run] or settings
    names = varying(shown)
    of_condition = [name for name in names if is_condition(name)]
    of_arm = [name for name in names if not is_condition(name) and name != METHOD]
    tuned = [name for name in of_arm if is_tuned(name, shown)]
    choices = [name for name in of_arm if name not in tuned]
    sorter = _Sorter()
    for entry, values in zip(entries, settings, strict=True):
        if entry.run is None:
            sorter.kept.append(entry)
            continue
        chosen = pick(values, of_condition)
        condition = Condition(chosen, wording(chosen, names) or about_partition(entry.run.settings))
        setting = pick(values, _telling(values, tuned, shown))
        sorter.add(entry, entry.run, Cell(condition, _arm(values, choices, shown), setting, wording(setting, names)))
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
        self.homes: dict[Path, Cell] = {}
        self._names: dict[Path, str] = {}

    def add(self, entry: Entry, run: Run, empty: Cell) -> None:
        """Put a run into its cell, which may be there already."""
        self.homes[entry.directory] = replace(empty, runs={})
        key = (empty.condition, empty.arm, empty.setting)
        cell = self.cells.setdefault(key, empty)
        first = cell.runs.get(run.settings.seed)
        if entry.state is not State.FINISHED:
            self.cells[key] = replace(cell, unfinished=cell.unfinished + 1)
        elif first is not None:
            problem = f"same settings and seed as {self._names[first.directory]}, which is counted"
            entry = replace(entry, state=State.REPEATED, problem=problem)
        else:
            cell.runs[run.settings.seed] = run
            self._names[run.directory] = entry.name
        self.kept.append(entry)


def _arm(values: Values, choices: Sequence[str], runs: Sequence[Values]) -> Arm:
    """Name an arm by its method, and by those choices that the method alone does not settle."""
    method = str(values.get(METHOD))
    chosen = pick(values, _telling(values, choices, runs))
    return Arm(method, chosen, ", ".join(filter(None, (method, wording(chosen, choices)))))


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
