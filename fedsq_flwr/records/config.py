"""``config.yaml`` of a run: all settings, with their values resolved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.files import write_whole
from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.run import RENAMED, RunSettings
from fedsq_flwr.settings.variants import drop_other_variants

#: Settings of version 0.1 that are gone, with the value at which they had no effect.
_REMOVED: Mapping[str, Any] = {"method.release_over": 0}
#: Settings that runs of older versions do not have. Their defaults are what was done then; all others must be there.
_LATER = ("fraction_evaluate", "method.gated_from", "method.gated_to")
#: A setting that every run of version 0.1 states, and none of a later version.
_OF_0_1 = "participation"


def write_config(path: Path, settings: RunSettings) -> None:
    """Write all settings, whole or not at all.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    write_whole(path, yaml.safe_dump(settings.plain(), sort_keys=False, allow_unicode=True).encode())


def read_config(path: Path) -> RunSettings:
    """Read the settings of a run, of this version or of version 0.1.

    Raises
    ------
    ConfigurationError
        If there is no such file, or it holds no valid settings.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path} does not exist")
    try:
        loaded = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read as settings: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise ConfigurationError(f"{path} holds no settings")
    data = {str(name): value for name, value in loaded.items()}
    try:
        data = _of_0_1(data) if _OF_0_1 in data else data
        settings = RunSettings.parse(data)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    missing = flat(settings.plain()).keys() - flat(data).keys() - set(_LATER)
    if missing:  # a default in its place would say of the run what nobody knows
        raise ConfigurationError(f"{path}: {min(missing)}: is missing; a run's file holds all settings")
    return settings


def _of_0_1(data: dict[str, Any]) -> dict[str, Any]:
    """Return settings of version 0.1 in the names of today, without those that had no effect beside the others.

    Raises
    ------
    ConfigurationError
        If a setting that is gone was used.
    """
    for name, unused in _REMOVED.items():
        if (value := _pop(data, name, unused)) != unused:
            raise ConfigurationError(f"{name}={value}: was removed; fedsq-flwr 0.1 reads this run")
    method = data.get("method")
    if isinstance(method, dict) and method.get("aggregation") == "fedadam":
        method["beta_1"] = method.pop("server_momentum", None)
    for old, new in RENAMED.items():
        value = _pop(data, old, ...)
        if value is not ...:
            _put(data, new, value)
    return drop_other_variants(data)


def _pop(data: dict[str, Any], name: str, missing: Any) -> Any:
    group, _, last = name.rpartition(".")
    level = data.get(group, {}) if group else data
    return level.pop(last, missing) if isinstance(level, dict) else missing


def _put(data: dict[str, Any], name: str, value: Any) -> None:
    group, _, last = name.rpartition(".")
    (data[group] if group else data)[last] = value
