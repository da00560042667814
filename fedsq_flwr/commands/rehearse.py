"""``fedsq rehearse``: a federation of real silos on this machine, from certificates to results.

Everything is as it would be on machines of one's own: an authority and certificates, node keys, a SuperLink
that speaks TLS and takes no key that it does not know, silos that are processes with a folder of images, a
disk and a key each. All processes end with the run.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console

from fedsq_flwr.assembly.data import load_server_data
from fedsq_flwr.assembly.network import load_start
from fedsq_flwr.commands.going_on import resuming, telling_how_to_go_on
from fedsq_flwr.commands.hydra_main import parse_overrides
from fedsq_flwr.commands.shares import lay_out_data, silo_name
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.executors.home import Home
from fedsq_flwr.executors.interrupts import ending_signals_raise
from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.silo_processes import SiloProcesses
from fedsq_flwr.executors.superlink import LocalSuperLink
from fedsq_flwr.files import writing
from fedsq_flwr.job import run_job
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.lock import hold
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.executor import RealSilos
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import SiloSettings
from fedsq_flwr.silos.certificates import issue_server_certificate, make_authority
from fedsq_flwr.silos.keys import make_node_key


def rehearse(silos: int, overrides: Sequence[str]) -> None:
    """Run the federation that ``overrides`` ask for with ``silos`` real silos on loopback.

    The run's directory gets a folder ``silos``, with the settings, images, disk and log of each silo.
    Certificates and keys are made for this one run, and removed when its processes have ended.

    Parameters
    ----------
    silos : int
        How many.
    overrides : sequence of str
        Hydra's, and its options that say where files are. ``data=imagefolder data.path=FOLDER`` takes
        ``FOLDER/silo-0`` and so on as they are, and ``FOLDER/server`` if it is there; any other data set is shared
        out and written as folders of images.

    Raises
    ------
    FedSQError
        If the run cannot start or does not do what was asked; one line says why.
    """
    told, sources = parse_overrides(overrides)
    settings = compose_settings([*told, f"silos={silos}", "executor.name=silos"], sources)
    address = settings.executor.superlink if isinstance(settings.executor, RealSilos) else None
    if address is not None:
        raise ConfigurationError(f"executor.superlink={address}: must be null, since a rehearsal starts its own")
    output = Path(settings.output).expanduser().absolute()
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    goes_on = telling_how_to_go_on(
        ["rehearse", str(silos), *sources.options(), *resuming(told, settings.output)],
        can_resume=settings.batch_norm != "local",
    )
    with hold(output), goes_on:
        if not settings.resume:  # a run that is resumed is compared when it is known where its images are
            RunDirectory(output).check(settings)
        _rehearse(settings, output)


def _rehearse(settings: RunSettings, output: Path) -> None:
    silos = settings.silos
    workshop = output / "silos"
    tell = Console(stderr=True)
    threads = str(settings.executor.threads)
    variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with ending_signals_raise(), Home("fedsq-keys-") as home:
        secrets = home.path
        tell.print(f"laying out the images of {silos} silos", style="dim")
        folders, settings = lay_out_data(settings, workshop)
        workshop.mkdir(parents=True, exist_ok=True)
        make_authority(secrets)
        issue_server_certificate(secrets, ["localhost", "127.0.0.1"])
        keys = [make_node_key(secrets / silo_name(silo)) for silo in range(silos)]
        tell.print("starting the server and the silos", style="dim")
        with (
            RunLog(output / "superlink.log") as log,
            LocalSuperLink(log, variables, certificates=secrets) as superlink,
        ):
            for key in keys:
                superlink.register(key)
            connection = {"superlink": superlink.address, "root_certificates": str(secrets / "ca.crt")}
            settings = settings.changed(output=str(output), executor=connection)
            weights = _weights(settings)
            files = [
                _write_silo(settings, workshop, folder, key, weights)
                for folder, key in zip(folders, keys, strict=True)
            ]
            with SiloProcesses(files, superlink.home, variables):
                run_job(settings)


def _write_silo(settings: RunSettings, workshop: Path, folder: Path, public_key: Path, weights: str | None) -> Path:
    """Write the settings of the silo that has ``folder`` and the key, and return where they are."""
    name = public_key.stem
    place = workshop / name
    place.mkdir(parents=True, exist_ok=True)
    executor = settings.executor
    silo = SiloSettings.parse(
        {
            "superlink": executor.superlink if isinstance(executor, RealSilos) else None,
            "silo": int(name.rpartition("-")[2]),
            "silos": settings.silos,
            "data_path": str(folder),
            "private_key": str(public_key.with_suffix("")),
            "root_certificates": executor.root_certificates if isinstance(executor, RealSilos) else None,
            "weights": weights,
            "state_dir": str(place / "state"),
            "device": executor.device,
            "gate_cache_bytes": executor.gate_cache_bytes,
        }
    )
    path = place / "silo.yaml"
    told = {name: value for name, value in silo.plain().items() if value is not None}
    path.write_text(yaml.safe_dump(told, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _weights(settings: RunSettings) -> str | None:
    """Return the file that every silo has as its own: the server's; None where none is needed."""
    if settings.executor.structure == "sent":
        return None
    file = load_start(settings, len(load_server_data(settings).class_names)).file
    return None if file is None else str(file.path)
