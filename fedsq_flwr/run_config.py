"""From Flower's run config, two strings, to our settings: what both apps read first."""

from functools import lru_cache

from flwr.app import Context

from fedsq_flwr.config import Config, compose_config
from fedsq_flwr.config.composition import split_overrides
from fedsq_flwr.config.site import Site, at_site, refuse_unsafe_overrides, site_of

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
    return compose_config(_overrides(key))


def site_config(context: Context) -> tuple[RunKey, Site, Config]:
    """Return the run's key, the silo's own settings, and the run's settings as they hold at the silo.

    Raises
    ------
    ConfigurationError
        As `config_of`; or the silo's own settings are wrong, or the run's are not taken by silos.
    """
    key, site = key_of(context), site_of(context.node_config)
    if site.is_real:
        refuse_unsafe_overrides(_overrides(key))
    return key, site, at_site(config_of(key), site)


def _overrides(key: RunKey) -> list[str]:
    experiment, overrides = key
    return [*([f"experiment={experiment}"] if experiment else []), *split_overrides(overrides)]
