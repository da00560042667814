"""From Flower's run config, two strings, to our settings: what both apps read first."""

import threading
from functools import lru_cache, partial

from flwr.app import Context

from fedsq_flwr.config import Config, compose_config
from fedsq_flwr.config.override_strings import split_overrides
from fedsq_flwr.config.site import Site, at_site, read_site, refuse_unsafe_overrides

RunKey = tuple[str, str]


def key_of(context: Context) -> RunKey:
    """Return the two keys of ``[tool.flwr.app.config]``, ``experiment`` and ``overrides``."""
    return str(context.run_config["experiment"]), str(context.run_config["overrides"])


def config_of(key: RunKey, site: Site = Site()) -> Config:  # noqa: B008 - immutable
    """Compose the settings that the run config asks for, as they hold at ``site``; treat them as read-only.

    Raises
    ------
    ConfigurationError
        One line that names the setting, the value and what is allowed.
    """
    with _COMPOSING:
        return _composed(key, site)


# Hydra composes with state of the process, so that threads have to take turns.
_COMPOSING = threading.Lock()


@lru_cache(maxsize=4)
def _composed(key: RunKey, site: Site) -> Config:
    experiment, overrides = key
    words = [*([f"experiment={experiment}"] if experiment else []), *split_overrides(overrides)]
    if site.is_real:
        refuse_unsafe_overrides(words)
    return compose_config(words, partial(at_site, site=site))


def site_of(context: Context) -> Site:
    """Return the silo's own settings.

    Raises
    ------
    ConfigurationError
        If one is wrong.
    """
    return read_site(context.node_config)
