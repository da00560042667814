"""Settings as a YAML file: ``config.yaml`` of a run's directory."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError  # type: ignore[import-untyped]

from fedsq_flwr.config.composition import to_config
from fedsq_flwr.config.schema import Config
from fedsq_flwr.errors import ConfigurationError


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
        return to_config(loaded)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
