"""How far the run in a job's directory came, known without loading torch."""

import json
import math
import re
from enum import Enum
from pathlib import Path
from typing import Any

from fedsq_flwr.errors import ConfigurationError, DataError, FedSQError
from fedsq_flwr.records.config import read_config
from fedsq_flwr.settings.backbone import is_run
from fedsq_flwr.settings.resuming import changes
from fedsq_flwr.settings.run import RunSettings

#: Where the files of a run are put that cannot be gone on with, within its directory.
EARLIER = "earlier"

#: What stays where it is: Hydra's files are of the job that starts now.
_STAYS = (".hydra", ".lock")

_HUB = re.compile(r"(hf:[\w.-]+/[\w.-]+)(/[^@]+)?(@.+)?")


class OccupiedError(ConfigurationError):
    """The directory is another run's. Nothing is written to it, a failure least of all."""


class Standing(Enum):
    """What there is in a job's directory."""

    NOTHING = "nothing that took work"
    BROKEN_OFF = "a run that can be gone on with"
    LOST = "a run that cannot be gone on with, or failed under other settings"
    FINISHED = "a finished run"


def standing(directory: Path, settings: RunSettings) -> Standing:
    """Tell how far the job ``settings`` came in ``directory``.

    Raises
    ------
    OccupiedError
        If a run that is finished, or could be gone on with, has other settings, or its files are damaged.
    """
    if not (directory / "history.jsonl").exists():
        return Standing.NOTHING
    try:
        kept, settings = read_config(directory / "config.yaml"), _pinned(settings)
        if _rounds_of_summary(directory) == kept.rounds:
            _require_same(directory, kept, settings, "finished", rounds=True)
            return Standing.FINISHED
    except FedSQError as error:
        raise OccupiedError(str(error)) from error
    if settings.batch_norm == "local" or not (directory / "checkpoints" / "last").is_dir():
        return Standing.LOST
    if (directory / "failure.json").exists() and changes(kept, settings, _kept_as):
        return Standing.LOST
    _require_same(directory, kept, settings, "unfinished", rounds=False)
    done = (directory / "history.jsonl").read_bytes().count(b"\n")
    if done > settings.rounds:
        raise OccupiedError(
            f"rounds={settings.rounds}: the unfinished run in {directory} has {done} already; choose another output"
        )
    return Standing.BROKEN_OFF


def read_figures(directory: Path) -> dict[str, Any]:
    """Return the figures of a finished run that a sweep tells of: best, round, test; NaN or None if unmeasured.

    Raises
    ------
    DataError
        If there is no whole ``summary.json``.
    """
    path = directory / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        best = summary["best_accuracy"]
        return {
            "best": math.nan if best is None else float(best),
            "round": int(summary["rounds_to_best"]),
            "test": summary["test_accuracy"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a summary: {error!r}") from error


def set_aside(directory: Path) -> Path:
    """Move what a run left into a folder of its own within ``directory``, and return that."""
    number = 1
    while (place := directory / EARLIER / str(number)).exists():
        number += 1
    place.mkdir(parents=True)
    moved = [file for file in directory.iterdir() if file.name not in (*_STAYS, EARLIER)]
    # Last what says that the run is lost: whoever comes after a death in between moves the rest.
    for file in sorted(moved, key=lambda file: file.name in ("failure.json", "history.jsonl")):
        file.rename(place / file.name)
    return place


def _rounds_of_summary(directory: Path) -> int | None:
    """Return the rounds that the summary is of; a run that was asked for more later keeps it until it has them."""
    path = directory / "summary.json"
    if not path.exists():
        return None
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["rounds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a summary: {error!r}") from error


def _pinned(settings: RunSettings) -> RunSettings:
    """Return the settings with the weights of a run as a run keeps them: by the file of the checkpoint."""
    if not is_run(settings.backbone.weights):
        return settings
    from fedsq_flwr.models import locate_weights  # torch: only where there are such weights

    file = locate_weights(settings.backbone.name, settings.backbone.weights).path.absolute()
    return settings.changed(backbone={"weights": str(file)})


def _require_same(directory: Path, kept: RunSettings, settings: RunSettings, state: str, *, rounds: bool) -> None:
    changed = changes(kept, settings, _kept_as)
    if rounds and kept.rounds != settings.rounds:
        changed.append("rounds")
    for name in changed:
        raise OccupiedError(f"{name}: differs from the {state} run in {directory}; choose another output")


def _kept_as(kept: Any, wanted: Any) -> bool:
    """Tell whether ``kept`` is how a run keeps ``wanted``: paths absolute, weights of the hub by their commit."""
    if isinstance(kept, dict) and isinstance(wanted, dict):
        return kept.keys() == wanted.keys() and all(_kept_as(kept[name], wanted[name]) for name in kept)
    if wanted is None and isinstance(kept, list):  # settled when the run began, see `executors.silos.agree`
        return True
    if kept == wanted or not (isinstance(kept, str) and isinstance(wanted, str)):
        return bool(kept == wanted)
    if (was := _HUB.fullmatch(kept)) and (now := _HUB.fullmatch(wanted)):
        return was[1] == now[1] and now[2] in (None, was[2]) and now[3] in (None, was[3])
    return kept == str(Path(wanted).expanduser().absolute())
