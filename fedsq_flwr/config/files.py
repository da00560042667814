"""Settings as a YAML file: ``config.yaml`` of a run's directory."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError  # type: ignore[import-untyped]

from fedsq_flwr.config.composition import compose_config, to_config
from fedsq_flwr.config.schema import Config
from fedsq_flwr.errors import ConfigurationError

#: Settings that runs of older versions do not have. Their defaults are what was done then; all others must be there.
LATER = ("method.gated_from", "method.gated_to")
#: Settings that only runs of older versions have -> the value with which they had no effect.
REMOVED = {"method.release_over": 0}


def write_config(path: Path, config: Config) -> None:
    """Write all settings, with their values resolved."""
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)), encoding="utf-8")


def read_config(path: Path) -> Config:
    """Read the settings of a run.

    Raises
    ------
    ConfigurationError
        If there is no such file, or it holds no valid settings.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path} does not exist")
    try:
        loaded = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path} cannot be read as settings: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, DictConfig):
        raise ConfigurationError(f"{path} holds no settings")
    try:
        return to_config(_with_later_settings(_without_removed_settings(loaded)))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _without_removed_settings(loaded: DictConfig) -> DictConfig:
    for name, idle in REMOVED.items():
        value = OmegaConf.select(loaded, name)
        if value is None:
            continue
        if value != idle:
            raise ConfigurationError(f"{name}={value}: this version has no such setting, version 0.1 has it")
        group, _, last = name.rpartition(".")
        del OmegaConf.select(loaded, group)[last]
    return loaded


def _with_later_settings(loaded: DictConfig) -> DictConfig:
    missing = [name for name in LATER if OmegaConf.select(loaded, name) is None]
    if missing and isinstance(loaded.get("method"), DictConfig):
        defaults = OmegaConf.structured(compose_config())
        for name in missing:
            OmegaConf.update(loaded, name, OmegaConf.select(defaults, name))
    return loaded
