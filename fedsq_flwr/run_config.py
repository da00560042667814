"""From Flower's run config to the settings of a run: composed by Hydra here, or composed already and sent as JSON."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flwr.app import Context

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.federation.protocol import SETTINGS
from fedsq_flwr.settings.files import check_files, with_absolute_paths
from fedsq_flwr.settings.overrides import quoted, split_overrides
from fedsq_flwr.settings.paths import expanded
from fedsq_flwr.settings.run import RunSettings

#: Keys that Flower's users expect, and the setting that each is.
KEYS: Mapping[str, str] = MappingProxyType(
    {
        "experiment": "experiment",
        "num-server-rounds": "rounds",
        "fraction-train": "fraction_train",
        "fraction-evaluate": "fraction_evaluate",
        "local-epochs": "local_epochs",
        "learning-rate": "learning_rate",
        "batch-size": "batch_size",
    }
)
#: Keys of which 0 is a value; "" is what leaves them as in ``conf``.
_MAY_BE_ZERO = ("fraction-evaluate",)


def settings_of(context: Context) -> RunSettings:
    """Return the settings that the run config asks for.

    Under plain ``flwr run`` the run config has the keys `KEYS` and ``overrides``, of which Hydra composes the
    settings here, once. The executors send settings that were composed already.

    Raises
    ------
    ConfigurationError
        One line that names the setting, the value and what is allowed.
    """
    config = context.run_config
    if config.get(SETTINGS):
        return RunSettings.from_json(str(config[SETTINGS]))
    from fedsq_flwr.settings.composition import compose_settings  # Hydra: only where it has to compose

    told = {key: config[key] for key in KEYS if not _is_left_out(key, config.get(key, ""))}
    overrides = split_overrides(str(config.get("overrides", "")))
    settings = compose_settings([*(_override(key, value) for key, value in told.items()), *overrides], files=False)
    for key, value in told.items():
        if (used := getattr(settings, KEYS[key])) != value:
            raise ConfigurationError(
                f"{key}={value}: disagrees with {KEYS[key]}={used} in overrides; give one of them"
            )
    settings = with_absolute_paths(settings.changed(output=str(place_of(settings.output))))
    check_files(settings)
    return settings


def place_of(output: str) -> Path:
    """Return the directory of a run: a relative ``output`` lies in the folder ``fedsq`` of Flower's home.

    The process of a server app has the working directory of its SuperLink, which is whatever the folder was that
    the SuperLink was started in.
    """
    home = Path(os.environ.get("FLWR_HOME") or Path.home() / ".flwr")
    return home / "fedsq" / expanded("output", output)


def _is_left_out(key: str, value: Any) -> bool:
    """Tell whether a value means "as in conf"."""
    return value == "" or (value == 0 and not isinstance(value, bool) and key not in _MAY_BE_ZERO)


def _override(key: str, value: Any) -> str:
    return f"{KEYS[key]}={quoted(value) if isinstance(value, str) else value}"
