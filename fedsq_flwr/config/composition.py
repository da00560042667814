"""From Hydra overrides to a checked `Config`, with errors of one line.

The command line, the two Flower apps and the tests all come through here, so that a setting means the
same in each of them.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from fedsq_flwr.config.calibration import calibrated_values
from fedsq_flwr.config.explanation import one_line_errors
from fedsq_flwr.config.job_names import key_of, register_job_names
from fedsq_flwr.config.override_strings import written
from fedsq_flwr.config.schema import Config
from fedsq_flwr.config.validation import check_files, validate
from fedsq_flwr.errors import ConfigurationError

CONFIG_MODULE = "fedsq_flwr.conf"
CONFIG_NAME = "config"


def register_schema() -> None:
    """Make known what ``conf/config.yaml`` builds on: the schema to Hydra, the names of jobs to OmegaConf."""
    ConfigStore.instance().store(name="schema", node=Config)
    register_job_names()


def compose_config(overrides: Sequence[str] = (), change: Callable[[Config], Config] | None = None) -> Config:
    """Compose and check the settings that ``overrides`` ask for, and whether the files that it needs are there.

    Parameters
    ----------
    overrides : sequence of str
        Hydra's.
    change : callable, optional
        Changes the settings before their values are checked.

    Raises
    ------
    ConfigurationError
        One line that names the setting, the value and what is allowed.
    """
    composed, _ = apply_calibration(_compose(overrides), overrides)
    config = to_config(composed, change)
    check_files(config)
    return config


def without_calibration(overrides: Sequence[str]) -> list[str]:
    """Return overrides that compose the same settings and name no file of a calibration; see `apply_calibration`."""
    return apply_calibration(_compose(overrides), overrides)[1]


def to_config(composed: DictConfig, change: Callable[[Config], Config] | None = None) -> Config:
    """Turn what Hydra composed into a `Config`, and check its values once ``change`` is made.

    Raises
    ------
    ConfigurationError
        One line that names the setting, the value and what is allowed.
    """
    with one_line_errors():
        # Merged into the schema once more, because `+setting=value` adds to what Hydra composed.
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    if not isinstance(config, Config):
        raise TypeError(f"expected a Config, got {type(config)}")
    config = config if change is None else change(config)
    validate(config)
    return config


def apply_calibration(composed: DictConfig, overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Put the values of a calibration into the settings, where ``calibration`` names its file.

    They are those of the method in force. What an override sets stays as it is.

    Parameters
    ----------
    composed : DictConfig
        What Hydra composed; it is not changed.
    overrides : sequence of str
        Of which it composed that.

    Returns
    -------
    DictConfig, list of str
        Settings that name no calibration, and overrides that compose them: whoever composes again, at a silo
        maybe, does not need the file.

    Raises
    ------
    ConfigurationError
        If the file cannot be used, or has no values for the method.
    """
    if composed.calibration is None:
        return composed, list(overrides)
    told = {key_of(override) for override in overrides}
    values = calibrated_values(composed.calibration, composed.method.name)
    values = {name: value for name, value in values.items() if name not in told}
    changed = copy.deepcopy(composed)
    try:
        with one_line_errors():
            for name, value in values.items():
                OmegaConf.update(changed, name, value)
    except ConfigurationError as error:
        raise ConfigurationError(f"calibration={composed.calibration}: {error}") from error
    changed.calibration = None
    kept = [override for override in overrides if key_of(override) != "calibration"]
    return changed, [*(f"{name}={written(value)}" for name, value in values.items()), *kept]


def _compose(overrides: Sequence[str]) -> DictConfig:
    register_schema()
    with one_line_errors(), _own_hydra(), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        return compose(CONFIG_NAME, overrides=list(overrides))


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Set Hydra's singleton aside: under ``fedsq run`` the in-process apps compose within a Hydra job."""
    singleton = GlobalHydra.instance()
    before, singleton.hydra = singleton.hydra, None
    try:
        yield
    finally:
        singleton.hydra = before
