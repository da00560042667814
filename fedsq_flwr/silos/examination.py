"""All checks of a silo before it joins, in their order: each is made unless one that it needs has failed.

What loads Flower or torch is imported on the way: that takes seconds, and fails where their versions are wrong.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fedsq_flwr.settings.data import ImageFolderData
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import SiloSettings
from fedsq_flwr.silos.checks.finding import Finding, Mark, fail, skip
from fedsq_flwr.silos.checks.settings import check_run, check_settings
from fedsq_flwr.silos.checks.versions import check_versions

_AT_THE_SERVER = ("server", "clock", "admission")
_CLASSES = 10  # of a trial, where the run does not name them
_OF_A_RUN = ("memory", "weights", "gates")
_NEEDING_SETTINGS = ("run", "key", "authority", *_AT_THE_SERVER, "data", *_OF_A_RUN, "disk", "device", "step")


def examine(settings: Sequence[str], overrides: Sequence[str], tell: Callable[[str], None]) -> Iterator[Finding]:
    """Make all checks, and yield what each came to.

    Parameters
    ----------
    settings : sequence of str
        The silo's, as `read_silo_settings` takes them.
    overrides : sequence of str
        Hydra's, of a run that the silo is to take part in; none: the default run.
    tell : callable
        Told what goes on.
    """
    yield check_versions()
    finding, silo = check_settings(settings)
    yield finding
    if silo is None:
        yield from (skip(check, "settings") for check in _NEEDING_SETTINGS)
        return
    finding, run = check_run(silo, overrides)
    yield finding
    for checks in (_connection(silo, tell), _work(silo, run, tell), _machine(silo, run, tell)):
        try:
            yield from checks
        except ImportError as error:
            yield fail("imports", error, "see versions")


def _connection(silo: SiloSettings, tell: Callable[[str], None]) -> Iterator[Finding]:
    from fedsq_flwr.silos.checks.credentials import check_authority, check_key

    key, keys = check_key(silo)
    yield key
    authority = check_authority(silo)
    yield authority
    tell(f"visiting {silo.superlink}")
    from fedsq_flwr.silos.checks.admission import check_admission
    from fedsq_flwr.silos.checks.server import check_clock, check_server, check_unverified

    trusted = authority.mark != Mark.FAIL
    server, contact = check_server(silo) if trusted else check_unverified(silo)
    yield server
    yield skip("clock", "server") if contact is None else check_clock(contact)
    needed = {"authority": authority, "server": server, "key": key}
    failed = next((name for name, finding in needed.items() if finding.mark == Mark.FAIL), None)
    yield check_admission(silo, keys) if failed is None else skip("admission", failed)


def _work(silo: SiloSettings, run: RunSettings | None, tell: Callable[[str], None]) -> Iterator[Finding]:
    """Check what is needed to train in a run."""
    tell("loading torch")
    from fedsq_flwr.silos.checks.images import check_images
    from fedsq_flwr.silos.checks.machine import check_memory
    from fedsq_flwr.silos.checks.privacy import check_privacy
    from fedsq_flwr.silos.checks.start import check_gates, check_weights

    names: Sequence[str] | None = None if run is None else run.data.classes
    unreadable = run.data.unreadable if run is not None and isinstance(run.data, ImageFolderData) else "fail"
    finding, contents = check_images(Path(silo.data_path), names, unreadable, tell)
    yield finding
    if run is None:
        yield from (skip(check, "run") for check in _OF_A_RUN)
        return
    yield skip("memory", "data") if contents is None else check_memory(run, contents.images)
    if contents is not None:
        names = contents.class_names
        if (private := check_privacy(silo, run, contents.train)) is not None:
            yield private
    if names is None:
        yield from (skip(check, "data") for check in _OF_A_RUN[1:])
        return
    tell("loading the weights")
    weights = check_weights(run, len(names))
    yield weights
    yield skip("gates", "weights") if weights.mark == Mark.FAIL else check_gates(run, len(names))


def _machine(silo: SiloSettings, run: RunSettings | None, tell: Callable[[str], None]) -> Iterator[Finding]:
    from fedsq_flwr.silos.checks.machine import check_device, check_disk
    from fedsq_flwr.silos.checks.step import check_step

    yield check_disk(silo)
    device = check_device(silo, None if run is None else run.executor.threads)
    yield device
    if run is None or device.mark == Mark.FAIL:
        yield skip("step", "run" if run is None else "device")
        return
    tell("training one step")
    yield check_step(run, len(run.data.classes or ()) or _CLASSES)
