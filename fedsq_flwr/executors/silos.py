"""The executor of real silos: the Flower app through `flwr run`, on an existing SuperLink."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.data.folder_layout import find_classes, find_parts
from fedsq_flwr.errors import ConfigurationError, RunFailedError
from fedsq_flwr.executors.failure import logged_error, written_error
from fedsq_flwr.executors.flower_app import FEDSQ_APP, write_app, write_run_config
from fedsq_flwr.executors.flower_commands import COMPLETED, CONNECTION, STOPPED, FlowerCommands
from fedsq_flwr.executors.follow import JsonLinesFollower
from fedsq_flwr.executors.interrupts import ending_signals_raise, signals_held_back
from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.records.history import Line
from fedsq_flwr.settings.data import ImageFolderData
from fedsq_flwr.settings.executor import RealSilos
from fedsq_flwr.settings.run import RunSettings

_POLL_SECONDS = 0.2


def run_silos(settings: RunSettings, on_round: Callable[[Line], None]) -> None:
    """Start the app on the SuperLink that ``executor.superlink`` names, and return once it is done.

    The rounds run on the SuperLink's machine, where ``settings.output`` is written; on another machine than
    this the rounds cannot be followed, only the run's end. A run that is broken off here, by Ctrl-C or a
    signal, is stopped there.

    Parameters
    ----------
    settings, on_round
        As `run_simulation`; what silos must be told is among the settings (`agree`).

    Raises
    ------
    ConfigurationError
        If no SuperLink is named.
    RunFailedError
        The run did not complete; the message is one line and names the log.
    SystemExit
        SIGTERM or SIGHUP came.
    """
    executor = settings.executor
    if not isinstance(executor, RealSilos) or executor.superlink is None:
        raise ConfigurationError("executor.superlink=null: must be HOST:PORT of a SuperLink with executor=silos")
    output = Path(settings.output)
    told = output / "failure.json"
    told.unlink(missing_ok=True)
    follower = JsonLinesFollower(output / "history.jsonl")

    def report() -> None:
        for line in follower.read():
            on_round(line)

    with ending_signals_raise(), RunLog(output / "flower.log") as log, FlowerCommands(log, {}) as flower:
        flower.connect(executor.superlink, executor.root_certificates, insecure=executor.insecure)
        directory, run_config = flower.home / "app", flower.home / "run.toml"
        write_app(directory, FEDSQ_APP)
        write_run_config(run_config, settings)
        process = flower.run(directory, (CONNECTION, "--run-config", str(run_config)))
        try:
            while process.poll() is None:
                report()
                time.sleep(_POLL_SECONDS)
            report()
            status = flower.final_status(report)
            report()
        except BaseException:
            with signals_held_back():
                flower.stop_run()
            raise
        if status != COMPLETED:
            unknown = "the run was stopped there (flwr stop)" if status == STOPPED else "no reason given"
            cause = written_error(told) or logged_error(log.recent()) or unknown
            raise RunFailedError(f"{cause} (status: {status or 'none'}; log: {log.path})")


def agree(settings: RunSettings) -> RunSettings:
    """Add what silos cannot know: the mean and std of the pixels, and the names of the classes.

    Raises
    ------
    FedSQError
        If the weights do not state how their images were normalised, or the server's folder has no classes.
    """
    mean, std = normalisation(settings.backbone)
    data = settings.data
    changes: dict[str, Any] = {}
    if isinstance(data, ImageFolderData) and data.path is not None and data.classes is None:
        changes["data"] = {"classes": list(find_classes(find_parts(Path(data.path))))}
    return settings.changed(backbone={"mean": list(mean), "std": list(std)}, **changes)
