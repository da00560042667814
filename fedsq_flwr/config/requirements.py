"""One way to say that a setting's value is not allowed."""

from functools import reduce

from fedsq_flwr.config.schema import Config
from fedsq_flwr.errors import ConfigurationError


def require(config: Config, name: str, holds: bool, allowed: str) -> None:
    """Raise a `ConfigurationError` unless ``holds``: one line with the setting, its value and what is allowed."""
    if not holds:
        value = " ".join(str(setting(config, name)).split())
        raise ConfigurationError(f"{name}={value}: {allowed}")


def setting(config: Config, name: str) -> object:
    """Return the value of a setting by its name on the command line."""
    return reduce(getattr, name.split("."), config)
