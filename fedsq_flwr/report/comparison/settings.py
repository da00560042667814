"""The settings of runs, told apart: what is not compared, what makes a condition, what makes an arm.

The facts of a setting are declared on its field: see `fedsq_flwr.settings.fields.Fact` and
docs/reference/comparison.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.fields import Fact, facts_of
from fedsq_flwr.settings.partition_file import REAL_SILOS
from fedsq_flwr.settings.run import RunSettings

Values = Mapping[str, Any]
#: Settings with their values, by name: hashable, in a fixed order.
Chosen = tuple[tuple[str, Any], ...]

SEED = "seed"
METHOD_GROUP = "method."
METHOD = f"{METHOD_GROUP}name"
POOLED = f"{METHOD_GROUP}pooled"
PARTITION = "partition.name"
_NOT_COMPARED = {Fact.NO_NUMBER, Fact.LAST_BITS, Fact.NOT_COMPARED}


def comparable(settings: RunSettings) -> dict[str, Any]:
    """Return the settings that are compared, by dotted name."""
    values = {
        name: _hashable(value)
        for name, value in flat(settings.plain()).items()
        if not _NOT_COMPARED & facts_of(RunSettings, name)
    }
    if not settings.has_real_silos:
        return values
    group = PARTITION.partition(".")[0]
    return {name: value for name, value in values.items() if not name.startswith(f"{group}.")} | {
        PARTITION: REAL_SILOS
    }


def varying(runs: Sequence[Values]) -> list[str]:
    """Return the names of the settings that differ between the runs that have them, in the order of the files.

    A run without a setting made another choice, such as another partition. That choice differs then, and says it all.
    """
    names = dict.fromkeys(name for values in runs for name in values)
    return [name for name in names if len({_told_apart(values[name]) for values in runs if name in values}) > 1]


def pick(values: Values, names: Sequence[str]) -> Chosen:
    """Return the settings with these names that are there and not null."""
    return tuple((name, values[name]) for name in names if values.get(name) is not None)


def is_condition(name: str) -> bool:
    """Whether a setting is a condition, which all methods face alike."""
    return Fact.CONDITION in facts_of(RunSettings, name)


def is_of_sharing(name: str) -> bool:
    """Whether a setting only says how samples and rounds are distributed among silos."""
    return Fact.SHARING in facts_of(RunSettings, name)


def is_tuned(name: str, runs: Sequence[Values]) -> bool:
    """Whether a setting of a method is one to be tuned: a fraction, like a rate or a weight.

    Counts, words and switches make another method: FedAvg with frozen batch norm is not FedAvg at another rate. So do
    fractions that are promises: less noise is not better tuned.
    """
    if Fact.NOT_TUNED in facts_of(RunSettings, name):
        return False
    return all(isinstance(values[name], float) for values in runs if values.get(name) is not None)


def describe(chosen: Chosen, among: Sequence[str] = ()) -> str:
    """Write settings shortly: the last part of a name, if it is clear `among` others, and the value."""
    return ", ".join(f"{_short(name, among)} {_written(value)}" for name, value in chosen)


def _short(name: str, among: Sequence[str]) -> str:
    group, _, last = name.rpartition(".")
    if last == "name":
        return group
    clear = sum(other.rpartition(".")[2] == last for other in among) <= 1
    return last if clear else name


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(_written, value)) if isinstance(value, tuple) else str(value)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _told_apart(value: Any) -> tuple[type, Any]:
    """Distinguish 1 from true, which are equal in Python."""
    return type(value), value
