"""What a sweep is going to do, as far as its overrides tell: where its jobs are, how many, what they vary."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from fedsq_flwr.config.composition import (
    CONFIG_MODULE,
    CONFIG_NAME,
    apply_calibration,
    register_schema,
)
from fedsq_flwr.config.explanation import one_line_errors
from fedsq_flwr.config.job_names import digest_of, key_of, names_job
from fedsq_flwr.config.override_strings import quoted
from fedsq_flwr.config.validation import check_output
from fedsq_flwr.errors import ConfigurationError

_BASIC = "BasicSweeper"


@dataclass(frozen=True)
class Plan:
    """A sweep before it starts.

    Attributes
    ----------
    output : Path
        The directory that its jobs' directories are in.
    overrides : tuple of str
        What Hydra is given.
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
        """Return what tells a job, with ``overrides``, from the others."""
        return " ".join(sorted(override for override in overrides if key_of(override) in self.varied)) or "defaults"


def plan_sweep(overrides: Sequence[str], config_name: str | None = None, config_dir: str | None = None) -> Plan:
    """Look at a sweep without running anything.

    Without ``output=`` its directory is named by a digest of the overrides that name jobs, so that the same
    sweep finds what an earlier one has done.

    Parameters
    ----------
    overrides : sequence of str
        Hydra's, some of which name several values.
    config_name, config_dir : str, optional
        What Hydra is told by options of the same names.

    Raises
    ------
    ConfigurationError
        One line, if an override is wrong whatever the job, or a sweep varies what tells no jobs apart.
    """
    register_schema()
    chosen = list(overrides)
    for text in chosen:
        if key_of(text) == "hydra.sweep.dir":
            raise ConfigurationError(f"{text}: a sweep's directory is set by output=DIRECTORY")
    if not any(key_of(override) == "output" for override in chosen):
        digest = digest_of(sorted(override for override in chosen if names_job(key_of(override))))
        chosen.append(f"output=runs/sweep-{digest}")
    with one_line_errors(), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        parsed = parser.parse_overrides(chosen)
        for override in parsed:
            _check(override)
        fixed = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
        searched = (
            [] if config_dir is None else [f"hydra.searchpath=[{quoted(f'file://{Path(config_dir).absolute()}')}]"]
        )
        composed = compose(config_name or CONFIG_NAME, [*fixed, *searched], return_hydra_config=True)
        output = Path(str(composed.output)).expanduser().absolute()
        check_output(str(composed.output), composed.data.name, composed.data.path)
        sweeper = OmegaConf.to_container(composed.hydra.sweeper, resolve=True)
        settings: Mapping[Any, Any] = sweeper if isinstance(sweeper, dict) else {}
        params = parser.parse_overrides([f"{key}={value}" for key, value in (settings.get("params") or {}).items()])
        for override in params:
            _check(override)
        swept = {
            override.get_key_element(): override for override in [*params, *parsed] if override.is_sweep_override()
        }
        for words in _for_each_method(fixed, swept.get("method")):
            apply_calibration(compose(config_name or CONFIG_NAME, [*words, *searched]), words)
        total = _total(settings, swept.values())
    kept = [override for override in chosen if key_of(override) != "output"]
    return Plan(
        output=output,
        overrides=(*kept, f"output={quoted(str(output))}", *_direction(settings, chosen)),
        total=total,
        varied=frozenset(key_of(key) for key in swept),
        compound=frozenset(key_of(key) for key, override in swept.items() if _is_compound(override)),
        fixed=tuple(override for override in fixed if names_job(key_of(override))),
        searches="direction" in settings,
    )


def _check(override: Override) -> None:
    """Refuse to vary what tells no jobs apart: all of them would be one directory."""
    key = key_of(str(override.input_line))
    if override.is_sweep_override() and not override.is_hydra_override() and not names_job(key):
        raise ConfigurationError(
            f"{override.input_line}: changes no number, so that a sweep's jobs cannot be told apart by it"
        )


def _is_compound(override: Override) -> bool:
    return override.is_discrete_sweep() and any(isinstance(value, list | dict) for value in override.sweep_iterator())


def _for_each_method(fixed: list[str], method: Override | None) -> Iterator[list[str]]:
    """Give overrides that compose the settings of each method of a sweep, without what else it varies."""
    if method is None:
        yield fixed
    else:
        yield from ([*fixed, f"method={option}"] for option in method.sweep_string_iterator())


def _total(sweeper: Mapping[Any, Any], swept: Any) -> int | None:
    if str(sweeper.get("_target_")).endswith(f".{_BASIC}"):
        return math.prod(sum(1 for _ in override.sweep_string_iterator()) for override in swept)
    trials = sweeper.get("n_trials")
    return trials if isinstance(trials, int) else None


def _direction(sweeper: Mapping[Any, Any], overrides: Sequence[str]) -> list[str]:
    """Have a sweeper that searches look for the highest accuracy, unless the person says otherwise."""
    told = any(key_of(override) == "hydra.sweeper.direction" for override in overrides)
    return ["hydra.sweeper.direction=maximize"] if "direction" in sweeper and not told else []
