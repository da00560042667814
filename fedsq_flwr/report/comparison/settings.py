"""The settings of runs, told apart: what changes no number, what makes a condition, what makes an arm.

The rules go by groups and types, not by lists of names, so that settings which are added later fall into
place: see docs/report.md.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fedsq_flwr.report.parsing import REAL_SILOS

Values = Mapping[str, Any]
#: Settings with their values, by name: hashable, in a fixed order.
Chosen = tuple[tuple[str, Any], ...]

SEED = "seed"
METHOD_GROUP = "method."
METHOD = f"{METHOD_GROUP}name"
ALPHA = "partition.alpha"
POOLED = f"{METHOD_GROUP}pooled"
PARTITION = "partition.name"
#: What each kind of partition looks at; the others' parameters say nothing about it.
PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "dirichlet": ALPHA,
        "quantity": ALPHA,
        "pathological": "partition.classes_per_silo",
        "shards": "partition.shards_per_silo",
    }
)
#: Change no number, or none of those compared. The preset's name is here: what it sets is compared itself.
IDLE = (SEED, "output", "resume", "cache_dir", "experiment", "diagnostics", "diagnostics_size", "trackers")
#: The exception among the executor's settings, none of which else changes more than the last bits.
PRECISION = "executor.precision"
CONDITION_GROUPS = ("data", "partition", "backbone")
CONDITION = (
    "silos",
    "participation",
    "rounds",
    "local_epochs",
    "validation_fraction",
    "evaluate_every",
    "min_silos",
    "min_replies",
)
#: How samples and rounds are shared out among silos, which says nothing about a method that has all in one place.
SHARING = ("silos", "participation", "min_silos", "min_replies")
#: Say which samples are the server's, too.
SPLITTING = ("partition.seed", "partition.file")


def flatten(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by dotted name, lists as tuples; those that are null are left out, as if not there."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = _hashable(value)
    return flat


def comparable(values: Values) -> dict[str, Any]:
    """Leave out what changes no number, and what has no effect beside the other settings."""
    kept = {
        name: value
        for name, value in values.items()
        if name not in IDLE and (name == PRECISION or not name.startswith("executor."))
    }
    if values.get("executor.name") == REAL_SILOS:
        kept[PARTITION] = REAL_SILOS
    own = PARAMETERS.get(str(kept.get(PARTITION)))
    idle = {*PARAMETERS.values()} - {own}
    return {name: value for name, value in kept.items() if name not in idle}


def varying(runs: Sequence[Values]) -> list[str]:
    """Return the names of the settings that differ between runs, in the order of the files; absent is a value too."""
    names = dict.fromkeys(name for values in runs for name in values)
    return [name for name in names if len({_told_apart(values.get(name)) for values in runs}) > 1]


def pick(values: Values, names: Sequence[str]) -> Chosen:
    """Return the settings with these names that are there."""
    return tuple((name, values[name]) for name in names if name in values)


def is_condition(name: str) -> bool:
    """Whether a setting is part of what all methods have to cope with alike."""
    return name in CONDITION or name.partition(".")[0] in CONDITION_GROUPS


def is_of_sharing(name: str) -> bool:
    """Whether a setting tells how samples are shared out among silos, and nothing else."""
    return name in SHARING or (name.startswith("partition.") and name not in SPLITTING)


def is_tuned(name: str, runs: Sequence[Values]) -> bool:
    """Whether a setting of a method is one to be tuned: a fraction, like a rate or a weight.

    Counts, words and switches make another method: FedAvg with frozen batch norm is not FedAvg at another rate.
    """
    return all(isinstance(values[name], float) for values in runs if name in values)


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
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return str(value) if isinstance(value, dict) else value


def _told_apart(value: Any) -> tuple[type, Any]:
    """Keep 1 and true apart, which are equal in Python."""
    return type(value), value
