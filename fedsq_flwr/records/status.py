"""How far the run in a directory came, seen from its files and without torch: sweeps ask for each of their jobs."""

import os
import re
from enum import Enum
from pathlib import Path
from typing import Any

from fedsq_flwr.errors import ConfigurationError, FedSQError
from fedsq_flwr.records.config import CONFIG, read_config
from fedsq_flwr.records.history import HISTORY, History
from fedsq_flwr.records.summary import FAILURE, SUMMARY, read_summary
from fedsq_flwr.settings.backbone import is_run
from fedsq_flwr.settings.resuming import changes
from fedsq_flwr.settings.run import RunSettings

#: Where the files of a run that cannot be resumed are put, within its directory.
EARLIER = "earlier"

#: The files of the locks of a run's directory, see `records.lock`.
COMMAND_LOCK, SERVER_LOCK = ".lock", ".server.lock"

#: What stays where it is: Hydra's files are of the job that starts now.
_STAYS = (".hydra", COMMAND_LOCK, SERVER_LOCK)

#: The files of the two checkpoints. (`models.weight_sources` has their name, too, but loads torch.)
LAST, BEST = (f"checkpoints/{name}/quantitative.safetensors" for name in ("last", "best"))

#: Settings that say how many rounds a run has. They may change when it is resumed, and not once it is finished.
_LENGTH = ("rounds", "stop_after", "stop_min_delta")

_HUB = re.compile(r"(hf:[\w.-]+/[\w.-]+)(/[^@]+)?(@.+)?")


class OccupiedError(ConfigurationError):
    """The directory is another run's. Nothing is written to it, a failure least of all."""


class RunStatus(Enum):
    """What there is in a run's directory."""

    NOTHING = "nothing that took work"
    BROKEN_OFF = "a run that can be resumed"
    LOST = "a run that cannot be resumed, or failed under other settings"
    FINISHED = "a finished run"


def holds_run(directory: Path) -> bool:
    """Tell whether a directory holds what took work: a finished round, or what is left of one."""
    return any(os.path.lexists(directory / name) for name in (HISTORY, LAST, BEST, SUMMARY))


def run_status(directory: Path, settings: RunSettings) -> RunStatus:
    """Tell how far the run that ``settings`` ask for came in ``directory``.

    Raises
    ------
    OccupiedError
        If a run that is finished, or could be resumed, has other settings, or its files are damaged.
    """
    if not holds_run(directory):
        return RunStatus.NOTHING
    history = History(directory / HISTORY)
    try:
        kept, settings = read_config(directory / CONFIG), _pinned(settings)
        # A run that was asked for more rounds later keeps its earlier summary until it has them.
        if (directory / SUMMARY).exists() and read_summary(directory).rounds == kept.rounds:
            _require_same(directory, kept, settings, "finished", rounds=True)
            return RunStatus.FINISHED
        if settings.batch_norm == "local" or not (directory / "checkpoints" / "last").is_dir():
            return RunStatus.LOST
        if (directory / FAILURE).exists() and changes(kept, settings, _kept_as):
            return RunStatus.LOST
        _require_same(directory, kept, settings, "unfinished", rounds=False)
        done = history.finished()
    except FedSQError as error:
        raise OccupiedError(str(error)) from error
    if done > settings.rounds:
        raise OccupiedError(
            f"rounds={settings.rounds}: the unfinished run in {directory} has {done} already; choose another output"
        )
    return RunStatus.BROKEN_OFF


def set_aside(directory: Path) -> Path:
    """Move what a run left into a folder of its own within ``directory``, and return that."""
    number = 1
    while (place := directory / EARLIER / str(number)).exists():
        number += 1
    place.mkdir(parents=True)
    moved = [file for file in directory.iterdir() if file.name not in (*_STAYS, EARLIER)]
    # Last what says that the run is lost: whoever comes after a death in between moves the rest.
    for file in sorted(moved, key=lambda file: file.name in (FAILURE, HISTORY)):
        file.rename(place / file.name)
    return place


def _pinned(settings: RunSettings) -> RunSettings:
    """Return the settings with the weights of a run as a run keeps them: by the file of the checkpoint."""
    if not is_run(settings.backbone.weights):
        return settings
    from fedsq_flwr.models import locate_weights  # torch: only where there are such weights

    file = locate_weights(settings.backbone.name, settings.backbone.weights).path.absolute()
    return settings.changed(backbone={"weights": str(file)})


def _require_same(directory: Path, kept: RunSettings, settings: RunSettings, state: str, *, rounds: bool) -> None:
    changed = changes(kept, settings, _kept_as)
    if rounds:
        changed += [name for name in _LENGTH if getattr(kept, name) != getattr(settings, name)]
    for name in changed:
        raise OccupiedError(f"{name}: differs from the {state} run in {directory}; choose another output")


def _kept_as(kept: Any, wanted: Any) -> bool:
    """Tell whether ``kept`` is how a run keeps ``wanted``: paths absolute, weights of the hub by their commit."""
    if wanted is None and isinstance(kept, list):  # settled when the run began, see `executors.silos.agree`
        return True
    if kept == wanted or not (isinstance(kept, str) and isinstance(wanted, str)):
        return bool(kept == wanted)
    if (was := _HUB.fullmatch(kept)) and (now := _HUB.fullmatch(wanted)):
        return was[1] == now[1] and now[2] in (None, was[2]) and now[3] in (None, was[3])
    return kept == str(Path(wanted).expanduser().absolute())
