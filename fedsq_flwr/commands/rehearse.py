"""``fedsq rehearse``: a federation of real silos on this machine, from certificates to results.

Everything is as it would be on machines of one's own: an authority and certificates, node keys, a SuperLink
that speaks TLS and takes no key that it does not know, silos that are processes with a folder of images, a
disk and a key each. All processes end with the run.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console

from fedsq_flwr.assembly import load_server_data, load_start
from fedsq_flwr.commands.shares import lay_out_data, silo_name
from fedsq_flwr.config import Config, compose_config
from fedsq_flwr.config.composition import without_calibration
from fedsq_flwr.config.override_strings import quoted
from fedsq_flwr.config.silo import SiloConfig
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.executors.interrupts import ending_signals_raise
from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.silo_processes import SiloProcesses
from fedsq_flwr.executors.superlink import LocalSuperLink
from fedsq_flwr.job import run_job
from fedsq_flwr.records import RunDirectory
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
        Hydra's. ``data=imagefolder data.path=FOLDER`` takes ``FOLDER/silo-0`` and so on as they are, and
        ``FOLDER/server`` if it is there; any other data set is shared out and written as folders of images.

    Raises
    ------
    FedSQError
        If the run cannot start or does not do what was asked; one line says why.
    """
    chosen = without_calibration([*overrides, f"silos={silos}", "executor.name=silos"])
    config = compose_config(chosen)
    if config.executor.superlink is not None:
        raise ConfigurationError(f"executor.superlink={config.executor.superlink}: a rehearsal starts its own")
    output = Path(config.output).expanduser().absolute()
    if not config.resume:  # a run that is resumed is compared when it is known where its images are
        RunDirectory(output).check(config)
    workshop = output / "silos"
    tell = Console(stderr=True)
    threads = str(config.executor.threads)
    variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with ending_signals_raise(), tempfile.TemporaryDirectory(prefix="fedsq-keys-") as made:
        secrets = Path(made)
        tell.print(f"laying out the images of {silos} silos", style="dim")
        folders, data = lay_out_data(config, workshop)
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
            connection = [
                f"executor.superlink={superlink.address}",
                f"executor.root_certificates={quoted(str(secrets / 'ca.crt'))}",
            ]
            chosen += [f"output={quoted(str(output))}", *data, *connection]
            config = compose_config(chosen)
            weights = _weights(config)
            settings = [
                _write_silo(config, workshop, folder, key, weights) for folder, key in zip(folders, keys, strict=True)
            ]
            with SiloProcesses(settings, superlink.home, variables):
                run_job(config, chosen, output)


def _write_silo(config: Config, workshop: Path, folder: Path, public_key: Path, weights: str | None) -> Path:
    """Write the settings of the silo that has ``folder`` and the key, and return where they are."""
    name = public_key.stem
    place = workshop / name
    place.mkdir(parents=True, exist_ok=True)
    silo = SiloConfig(
        superlink=str(config.executor.superlink),
        silo=int(name.rpartition("-")[2]),
        silos=config.silos,
        data_path=str(folder),
        private_key=str(public_key.with_suffix("")),
        root_certificates=config.executor.root_certificates,
        weights=weights,
        state_dir=str(place / "state"),
        device=config.executor.device,
        gate_cache_bytes=config.executor.gate_cache_bytes,
    )
    path = place / "silo.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(silo))), encoding="utf-8")
    return path


def _weights(config: Config) -> str | None:
    """Return the file that every silo has as its own: the server's; None where none is needed."""
    if config.executor.structure == "sent":
        return None
    file = load_start(config, len(load_server_data(config).class_names)).file
    return None if file is None else str(file.path)
