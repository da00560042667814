"""The silo's own settings, and those of a run as they hold at the silo."""

from collections.abc import Sequence

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.privacy.accounting import check_accountant
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import SiloSettings, at_site, for_real_silos
from fedsq_flwr.settings.silo_file import read_silo_settings
from fedsq_flwr.silos.checks.finding import Finding, fail, ok

# What holds for every run of real silos.
_REAL = ("executor=silos", "data=imagefolder")


def check_settings(words: Sequence[str]) -> tuple[Finding, SiloSettings | None]:
    """Read the silo's settings. Those that name a file which is missing are returned with the failure."""
    name = "settings"
    try:
        silo = read_silo_settings(words, files=False)
        if silo.privacy is not None:
            check_accountant()
    except ConfigurationError as error:
        return fail(name, error), None
    try:
        silo.check_files()
    except ConfigurationError as error:
        return fail(name, error), silo
    return ok(name, f"silo {silo.title}, of the server {silo.superlink}"), silo


def check_run(silo: SiloSettings, overrides: Sequence[str]) -> tuple[Finding, RunSettings | None]:
    """Compose the settings of the run that ``overrides`` ask for, as they hold at this silo."""
    name = "run"
    try:
        told = compose_settings([*_REAL, *overrides], files=False)  # which are the server's
        run = at_site(for_real_silos(told), silo.site())
    except ConfigurationError as error:
        return fail(
            name, error, "give the run's settings after --run, as its server has them", "fedsq run --help"
        ), None
    found = f"{run.method.name} with {run.backbone.name}"
    return ok(name, found if overrides else f"{found}, the default (--run gives another)"), run
