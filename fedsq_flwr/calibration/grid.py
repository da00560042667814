"""The grid of a calibration, as a sweep over methods, settings and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.composition import Sources, compose_settings, conf_directory
from fedsq_flwr.settings.fields import catalogue
from fedsq_flwr.settings.mistakes import unknown
from fedsq_flwr.settings.overrides import Value, key_of, quoted
from fedsq_flwr.settings.run import RunSettings, Selection
from fedsq_flwr.sweeps.plan import Plan, plan_sweep

#: Centralised training: all training data in one place. An override replaces any of them. The seed is said so that
#: it names the directories of the runs, and more seeds can be added later.
CENTRALISED = ("silos=1", "partition=iid", "executor=inprocess", "seed=0")

_NO_SINGLE_VALUE = "{}: is not a single value, as a calibration varies them"

#: May vary, and are no settings to choose.
_METHOD, _SEED = "method", "seed"

#: Sets nothing but its own settings.
_PLAIN = "fedavg"


@dataclass(frozen=True)
class Grid:
    """A calibration before it starts.

    Attributes
    ----------
    plan : Plan
        The sweep that it is.
    settings : tuple of str
        The settings to choose, in the order of their names.
    select_by : str
        The measure that chooses.
    """

    plan: Plan
    settings: tuple[str, ...]
    select_by: Selection


def plan_grid(
    methods: Sequence[str],
    overrides: Sequence[str],
    directory: Path,
    sources: Sources = Sources(),  # noqa: B008 - immutable
) -> Grid:
    """Look at a calibration without running anything.

    Parameters
    ----------
    methods : sequence of str
        Options of the group ``method``.
    overrides : sequence of str
        Hydra's. One that names several values adds a setting to the grid, or replaces its values; one that names
        a single value holds for all tries.
    directory : Path
        Where the runs are, unless an override says ``output``.
    sources : Sources
        Where Hydra is to look for files.

    Raises
    ------
    ConfigurationError
        One line, if an override is wrong, or a method, or there is nothing to choose.
    """
    for override in overrides:
        if key_of(override) in (_METHOD, "calibration", "resume"):
            raise ConfigurationError(
                f"{override}: not in a calibration; methods are named by --methods, and it goes on by itself"
            )
    if not all(methods) or len(set(methods)) < len(methods):
        raise ConfigurationError(f"--methods {','.join(methods)}: must be methods that differ, joined by commas")
    given = {key_of(override) for override in overrides}
    alone = {name: compose_settings([f"{_METHOD}={name}"], sources) for name in dict.fromkeys((_PLAIN, *methods))}
    lines = {name: line for name, line in _default_grid().items() if _owner(name, alone) is None}
    defaults = [*CENTRALISED, *lines.values(), f"output={quoted(str(directory))}"]
    kept = [override for override in defaults if key_of(override) not in given]
    plan = plan_sweep([f"{_METHOD}={','.join(methods)}", *kept, *overrides], sources)
    settings = tuple(sorted(plan.varied - {_METHOD, _SEED}))
    if not settings:
        raise ConfigurationError("a calibration needs a setting with several values, such as learning_rate=0.05,0.1")
    composed = [compose_settings([*plan.fixed, f"{_METHOD}={method}"], sources) for method in methods]
    if "select_by" in settings:
        raise ConfigurationError("select_by: has several values; tries are compared by one measure")
    for name in settings:
        if name in plan.compound:
            raise ConfigurationError(_NO_SINGLE_VALUE.format(name))
        for each in composed:
            value_of(each, name)
        if (owner := _owner(name, alone)) is not None:
            raise ConfigurationError(f"{name}: is set by {owner} itself, and would make another method of it")
    return Grid(plan, settings, composed[0].select_by)


def value_of(settings: RunSettings, name: str) -> Value:
    """Return the value of a setting.

    Raises
    ------
    ConfigurationError
        If there is none of this name, or what was chosen has none, or it is not a single value.
    """
    values = flat(settings.plain())
    if name in values and isinstance(value := values[name], Value):
        return value
    if name in values or any(each.startswith(f"{name}.") for each in values):
        raise ConfigurationError(_NO_SINGLE_VALUE.format(name))
    group = name.partition(".")[0]
    if name in catalogue(RunSettings):
        raise ConfigurationError(f"{name}: is no setting of {group}={getattr(settings, group).name}")
    raise ConfigurationError(unknown(RunSettings, name))


def _owner(name: str, alone: Mapping[str, RunSettings]) -> str | None:
    """Return the first method that defines ``name``; a method's own settings may be tuned and do not count.

    Parameters
    ----------
    name : str
        Of a setting.
    alone : mapping of str to RunSettings
        The settings of each method when nothing else is told, those of `_PLAIN` among them.
    """
    if name.startswith(f"{_METHOD}."):
        return None
    default = value_of(alone[_PLAIN], name)
    return next((method for method, settings in alone.items() if value_of(settings, name) != default), None)


def _default_grid() -> dict[str, str]:
    grid = OmegaConf.to_container(OmegaConf.create((conf_directory() / "calibration_grid.yaml").read_text()))
    if not isinstance(grid, dict):
        raise TypeError(f"expected a mapping of settings to values, got {type(grid)}")
    return {str(name): f"{name!s}={','.join(map(str, values))}" for name, values in grid.items()}
