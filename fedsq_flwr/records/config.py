"""``config.yaml`` of a run: all settings, with their values resolved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fedsq_flwr.errors import ConfigurationError, DataError
from fedsq_flwr.files import read_bytes, write_whole
from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.run import MAX_EXAMPLES, MAX_UPDATE_RATIO, RENAMED, RunSettings
from fedsq_flwr.settings.variants import drop_other_variants

CONFIG = "config.yaml"
#: The most bytes of the file that are read; real ones have about 2,000.
LARGEST = 2**20
#: Settings of version 0.1 that are gone, with the value at which they had no effect.
_REMOVED: Mapping[str, Any] = {"method.release_over": 0}
#: Settings that runs of older versions do not have, with what was done then. All others must be there.
_LATER: Mapping[str, Any] = {
    "fraction_evaluate": 1.0,
    "max_examples": MAX_EXAMPLES,  # likewise
    "max_update_ratio": MAX_UPDATE_RATIO,  # there was no bound, and honest updates stay below this one
    "local_steps": 0,
    "silo_measures": "basic",
    "select_by": "accuracy",
    "stop_after": 0,
    "stop_min_delta": 0.0,
    "method.gate_statistics": "pretrained",
    "method.gated_from": 0.0,
    "method.gated_to": 1.0,
    "executor.memory_format": "contiguous",
    "executor.deterministic": False,
    "executor.gate_cache_device_bytes": 2**31,
    "executor.ray_address": None,
    "executor.reply_fraction": 1.0,
    "executor.reply_grace": 0.0,
}
#: A setting that every run of version 0.1 states, and none of a later version.
_OF_0_1 = "participation"


class _Loader(yaml.SafeLoader):
    """Refuses what no run ever wrote: a setting that is there twice, and aliases, which may stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases of YAML")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        made = super().construct_mapping(node, deep)
        if len(made) < len(node.value):
            raise yaml.YAMLError("a setting is there twice")
        return made


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
    try:
        loaded = yaml.load(config_text(path), _Loader)  # noqa: S506 - makes nothing but plain values
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: cannot be read as settings: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise ConfigurationError(f"{path}: holds no settings")
    data = {str(name): value for name, value in loaded.items()}
    try:
        data = _of_0_1(data) if _OF_0_1 in data else data
        settings = RunSettings.parse(data)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    missing = flat(settings.plain()).keys() - flat(data).keys()
    if unknown := missing - _LATER.keys():  # a default in its place would say of the run what nobody knows
        raise ConfigurationError(f"{path}: {min(unknown)}: is missing; a run's file holds all settings")
    then = settings.plain()
    for name in missing:
        _put(then, name, _LATER[name])
    return RunSettings.parse(then)


def config_text(path: Path) -> str:
    """Return the text of the settings of a run.

    Raises
    ------
    ConfigurationError
        If there is no such file, or it holds no text.
    """
    try:
        return read_bytes(path, at_most=LARGEST).decode()
    except DataError as error:
        raise ConfigurationError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: cannot be read as settings: {error}") from error


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
