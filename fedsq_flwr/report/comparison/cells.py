"""What runs are sorted into: conditions, methods, and the cells where they meet."""

from dataclasses import dataclass, field
from pathlib import Path

from fedsq_flwr.report.comparison.collecting import Entry
from fedsq_flwr.report.comparison.settings import ALPHA, Chosen
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
    """Runs of an arm at one setting under one condition: the finished ones by seed."""

    condition: Condition
    arm: Arm
    setting: Chosen
    label: str  # of the setting
    runs: dict[int, Run] = field(default_factory=dict)


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
    homes: dict[Path, list[Cell]]  # by a run's directory: where it belongs, an empty cell in each condition

    def of(self, condition: Condition, arm: Arm | None = None) -> list[Cell]:
        """Return a condition's cells, or those of one arm among them."""
        return [cell for cell in self.cells if cell.condition == condition and arm in (None, cell.arm)]
