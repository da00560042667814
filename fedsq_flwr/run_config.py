"""From Flower's run config, two strings, to our settings: what both apps read first."""

from functools import lru_cache

from flwr.app import Context

from fedsq_flwr.config import Config, compose_config
from fedsq_flwr.config.composition import split_overrides

RunKey = tuple[str, str]


def key_of(context: Context) -> RunKey:
    """Return the two keys of ``[tool.flwr.app.config]``, ``experiment`` and ``overrides``."""
    return str(context.run_config["experiment"]), str(context.run_config["overrides"])


@lru_cache(maxsize=4)
def config_of(key: RunKey) -> Config:
    """Compose the settings that the run config asks for; treat the result as read-only.

    Raises
    ------
    ConfigurationError
        One line that names the setting, the value and what is allowed.
    """
    experiment, overrides = key
    chosen = [f"experiment={experiment}"] if experiment else []
    return compose_config([*chosen, *split_overrides(overrides)])
