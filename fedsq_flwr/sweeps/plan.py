"""The plan of a sweep, from its overrides: the jobs' directory, their number, and what they vary."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.calibrated import calibrated_values
from fedsq_flwr.settings.composition import Sources, composing, resolve
from fedsq_flwr.settings.files import check_output
from fedsq_flwr.settings.job_names import digest_of, names_job
from fedsq_flwr.settings.overrides import key_of, quoted
from fedsq_flwr.settings.paths import expanded

_BASIC = "BasicSweeper"
_NAMES = "hydra.sweep.subdir"
#: Settings that name the directory of a sweep.
_PLACES = ("output", "hydra.sweep.dir")


@dataclass(frozen=True)
class Plan:
    """A sweep before it starts.

    Attributes
    ----------
    output : Path
        The directory that its jobs' directories are in.
    overrides : tuple of str
        Those that Hydra is given.
    sources : Sources
        Where Hydra is to look for files.
    total : int or None
        How many jobs there are; None where the sweeper does not say beforehand.
    varied : frozenset of str
        The settings that differ between jobs.
    compound : frozenset of str
        Of them, those with values that are lists or mappings.
    fixed : tuple of str
        The overrides, of those that name jobs, which all of them have.
    searches : bool
        The sweeper looks for the best job.
    """

    output: Path
    overrides: tuple[str, ...]
    sources: Sources
    total: int | None
    varied: frozenset[str]
    compound: frozenset[str]
    fixed: tuple[str, ...]
    searches: bool

    @property
    def place(self) -> str:
        """The directory as a person would write it, from where they are."""
        here = Path.cwd()
        return str(self.output.relative_to(here) if self.output.is_relative_to(here) else self.output)

    def label(self, overrides: Sequence[str]) -> str:
        """Return the part of ``overrides`` that distinguishes a job from the others."""
        return " ".join(sorted(override for override in overrides if key_of(override) in self.varied)) or "defaults"


def plan_sweep(overrides: Sequence[str], sources: Sources = Sources()) -> Plan:  # noqa: B008 - immutable
    """Look at a sweep without running anything.

    Without ``output=`` or ``hydra.sweep.dir=`` its directory is named by a digest of the overrides that name jobs, so
    that the same sweep finds what an earlier one has done.

    Parameters
    ----------
    overrides : sequence of str
        Hydra's, some of which name several values.
    sources : Sources
        Where Hydra is to look for files.

    Raises
    ------
    ConfigurationError
        One line, if an override is wrong whatever the job, or a sweep varies what tells no jobs apart.
    """
    chosen = list(overrides)
    if not any(key_of(override) in _PLACES for override in chosen):
        digest = digest_of(sorted([*sources.options(), *(each for each in chosen if names_job(key_of(each)))]))
        chosen.append(f"output=runs/sweep-{digest}")
    with composing(sources) as compose:
        # The loader knows the files that a glob chooses among.
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        parsed = parser.parse_overrides(chosen)
        for override in parsed:
            _check(override)
        fixed = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
        composed = compose(fixed)
        output = expanded("output", str(composed.hydra.sweep.dir)).absolute()
        sweeper = OmegaConf.to_container(composed.hydra.sweeper, resolve=True)
        options: Mapping[Any, Any] = sweeper if isinstance(sweeper, dict) else {}
        params = parser.parse_overrides([f"{key}={value}" for key, value in (options.get("params") or {}).items()])
        for override in params:
            _check(override)
        swept = {each.get_key_element(): each for each in [*params, *parsed] if each.is_sweep_override()}
        if not swept:  # one job, whose mistakes are better told now
            resolve(composed, composed.hydra.runtime.choices, fixed)
        methods = swept["method"].sweep_string_iterator() if "method" in swept else ()
        for each in [compose([*fixed, f"method={name}"]) for name in methods] or [composed]:
            _check_files(output, each)
        total = _total(options, swept.values())
    kept = [override for override in chosen if key_of(override) not in _PLACES]
    varied = frozenset(key_of(key) for key in swept)
    return Plan(
        output=output,
        overrides=(
            *kept,
            f"output={quoted(str(output))}",
            *_naming(varied, chosen),
            *_direction(options, chosen),
        ),
        sources=sources,
        total=total,
        varied=varied,
        compound=frozenset(key_of(key) for key, override in swept.items() if _is_compound(override)),
        fixed=tuple(override for override in fixed if names_job(key_of(override))),
        searches="direction" in options,
    )


def _check(override: Override) -> None:
    """Raise an error for a varied setting that is not part of job names: all jobs would share one directory."""
    key = key_of(str(override.input_line))
    if override.is_sweep_override() and not override.is_hydra_override() and not names_job(key):
        raise ConfigurationError(
            f"{override.input_line}: changes no number, so that a sweep's jobs cannot be told apart by it"
        )


def _check_files(output: Path, composed: DictConfig) -> None:
    """Refuse an output among the user's own images, and a calibration without values for the method."""
    if composed.data.name == "imagefolder" and composed.data.path is not None:
        check_output(str(output), str(composed.data.path))
    if composed.calibration is not None:
        calibrated_values(str(composed.calibration), str(composed.method.name))


def _is_compound(override: Override) -> bool:
    return override.is_discrete_sweep() and any(isinstance(value, list | dict) for value in override.sweep_iterator())


def _total(sweeper: Mapping[Any, Any], swept: Any) -> int | None:
    if str(sweeper.get("_target_")).endswith(f".{_BASIC}"):
        return math.prod(sum(1 for _ in override.sweep_string_iterator()) for override in swept)
    trials = sweeper.get("n_trials")
    return trials if isinstance(trials, int) else None


def _naming(varied: frozenset[str], overrides: Sequence[str]) -> list[str]:
    """Name jobs by what the sweep varies; a single job, and whoever names jobs otherwise, is left as it is."""
    keys = sorted(key for key in varied if names_job(key))
    if not keys or any(key_of(override) == _NAMES for override in overrides):
        return []
    return [f"{_NAMES}='${{job_name:${{hydra.overrides.task}},[{','.join(keys)}],${{hydra.sweep.dir}}}}'"]


def _direction(sweeper: Mapping[Any, Any], overrides: Sequence[str]) -> list[str]:
    """Make a searching sweeper maximise the accuracy, unless the user sets the direction."""
    told = any(key_of(override) == "hydra.sweeper.direction" for override in overrides)
    return ["hydra.sweeper.direction=maximize"] if "direction" in sweeper and not told else []
