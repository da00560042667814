"""The silo's own settings, and those of a run as they hold at the silo."""

from collections.abc import Sequence
from functools import partial

from fedsq_flwr.config import Config, compose_config
from fedsq_flwr.config.silo import SiloConfig, node_config, read_silo_config
from fedsq_flwr.config.site import at_site, read_site, refuse_unsafe_overrides
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.silos.checks.finding import Finding, fail, ok

# What holds for every run of real silos.
_REAL = ("executor.name=silos", "data.name=imagefolder")


def check_settings(words: Sequence[str]) -> tuple[Finding, SiloConfig | None]:
    """Read the silo's settings."""
    name = "settings"
    try:
        silo = read_silo_config(words)
    except ConfigurationError as error:
        return fail(name, error), None
    return ok(name, f"silo {silo.silo} of {silo.silos}, of the server {silo.superlink}"), silo


def check_run(silo: SiloConfig, overrides: Sequence[str]) -> tuple[Finding, Config | None]:
    """Compose the settings of the run that ``overrides`` ask for, as this silo would."""
    name = "run"
    try:
        site = read_site(node_config(silo))
        refuse_unsafe_overrides(overrides)
        run = compose_config([*_REAL, *overrides], partial(at_site, site=site))
    except ConfigurationError as error:
        return fail(name, error, "give the run's settings after --run, as its server has them"), None
    told = f"{run.method.name} with {run.backbone.name}"
    return ok(name, told if overrides else f"{told}, the default (--run gives another)"), run
