"""A run's directory: everything that a run leaves behind, and where a resumed run starts."""

import json
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.data import FederatedData, ServerData
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.federation.rounds import Round
from fedsq_flwr.federation.server_model import ServerModel
from fedsq_flwr.files import write_whole
from fedsq_flwr.models import state_digest
from fedsq_flwr.records.checkpoints import Checkpoints
from fedsq_flwr.records.config import read_config, write_config
from fedsq_flwr.records.history import History, Line
from fedsq_flwr.records.lines import HELD_OUT, SAMPLES, UNREADABLE_FILES, best_line, figures, line_of, plain_figures
from fedsq_flwr.settings.resuming import changes
from fedsq_flwr.settings.run import RunSettings

#: Version of the layout of summary.json.
SCHEMA = 1

#: The executor of real silos, and the name of their partition.
SILOS = "silos"


@dataclass(frozen=True)
class Start:
    """Where a run starts: its first round, and what to load if that is not the first of all.

    ``structure`` is None where the round before had the start's structure, or none; ``server`` where the
    server remembers nothing but the model.
    """

    round: int
    state: dict[str, Tensor] | None
    structure: dict[str, Tensor] | None = None
    server: dict[str, Tensor] | None = None


class RunDirectory:
    """The directory of one run.

    Parameters
    ----------
    path : str or Path
        It is made if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self.history = History(self.path / "history.jsonl")
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self._opened = time.perf_counter()
        self._earlier_seconds = 0.0  # of the rounds that earlier, interrupted runs finished

    def open(self, settings: RunSettings, task: ServerData) -> Start:
        """Make the directory ready for ``settings``, and say where to start.

        Raises
        ------
        ConfigurationError
            If it holds a run already and ``resume`` is not set, or a run with other settings.
        DataError, WeightsError
            If what is there to resume from is damaged, or it cannot be told how the weights want their images.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.check(settings)
        mean, std = normalisation(settings.backbone)
        self.checkpoints.pixels = {
            "mean": json.dumps(mean),
            "std": json.dumps(std),
            "input_size": str(settings.backbone.image_size),
        }
        (self.path / "failure.json").unlink(missing_ok=True)  # of an earlier attempt
        start = Start(1, None)
        if settings.resume and self.checkpoints.path("last").exists():
            state, line = self.checkpoints.load("last")
            self.history.repair(line)
            structure, server = self.checkpoints.load_structure("last"), self.checkpoints.load_server("last")
            start = Start(int(line["round"]) + 1, state, structure, server)
            self._earlier_seconds = sum(earlier["seconds"] for earlier in self.history.read())
        write_config(self.path / "config.yaml", settings)
        write_json(self.path / "partition.json", describe_partition(task))
        return start

    def check(self, settings: RunSettings) -> None:
        """Refuse to write over another run; nothing is lost.

        Raises
        ------
        ConfigurationError
            As `open`.
        """
        if not self.history.path.exists():
            return
        if not settings.resume:
            raise ConfigurationError(
                f"output={settings.output}: holds a run already; choose another directory, or resume=true to go on"
            )
        before = read_config(self.path / "config.yaml")
        for name in changes(before, settings):
            raise ConfigurationError(
                f"{name}: differs from the run in output={settings.output}; to resume it, settings that change no "
                "number may change, and rounds (with a constant learning rate), diagnostics, min_available_silos"
            )
        done = len(self.history.read())
        if done > settings.rounds:
            raise ConfigurationError(
                f"rounds={settings.rounds}: the run in output={settings.output} has {done} finished rounds; "
                "to resume it, ask for as many or more"
            )

    def keep(
        self,
        finished: Round,
        state: dict[str, Tensor],
        structure: dict[str, Tensor] | None = None,
        server: dict[str, Tensor] | None = None,
    ) -> Line:
        """Keep a finished round: checkpoints first, then its line, so that a run that dies can go on.

        ``structure`` is the structural state of the round, where it came up during the run; ``server`` what
        the server remembers beside the model, which only a run that goes on needs.
        """
        line = line_of(finished)
        lines = self.history.read()
        self.checkpoints.save("last", state, line, structure, server)
        if best_line([*lines, line]) is line:
            self.checkpoints.save("best", state, line, structure)
        self.history.append(line)
        return line

    def finish(self, settings: RunSettings, task: ServerData, model: ServerModel, weights: dict[str, Any]) -> None:
        """Write ``summary.json``.

        ``weights`` describes those that the run started from; the accuracies of the plain form are measured
        here, with ``model``.
        """
        lines = self.history.read()
        best, _ = self.checkpoints.load("best")
        final, _ = self.checkpoints.load("last")
        shared = settings.method.aggregation != "none"  # else there is no one model to judge
        accuracies = best_line(lines)["silo_accuracies"]
        unreadable = _latest(lines, UNREADABLE_FILES)
        per_silo = [
            {
                "silo": silo,
                "train": train,
                "held_out": held_out,
                "accuracy": accuracies.get(str(silo)),
                **({"unreadable": unreadable[str(silo)]} if str(silo) in unreadable else {}),
            }
            for silo, (train, held_out) in _sizes(task, lines).items()
        ]
        summary = {
            "schema": SCHEMA,
            "experiment": settings.experiment,
            "method": settings.method.name,
            "backbone": settings.backbone.name,
            "data": settings.data.name,
            **_partition(settings, task),
            "silos": settings.silos,
            "seed": settings.seed,
            "rounds": settings.rounds,
            "learning_rate": settings.learning_rate,
            "batch_norm": settings.batch_norm,
            **figures(lines),
            **plain_figures(*(model.evaluate_plain(state) if shared else None for state in (best, final))),
            "per_silo": per_silo,
            "wall_seconds": self._earlier_seconds + time.perf_counter() - self._opened,
            "fingerprint": model.fingerprint,
            "weights": weights,
            "weights_sha256": state_digest(final),
            "versions": _versions(),
        }
        write_json(self.path / "summary.json", summary)

    def write_failure(self, reason: str) -> None:
        """Keep the one line that says why the run ended, for whoever started it."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "failure.json", {"error": reason})


def describe_partition(task: ServerData) -> dict[str, Any]:
    """Return what ``partition.json`` holds: which silo has what, where this process has shared it out."""
    server = {
        "class_names": list(task.class_names),
        "validation": len(task.validation),
        "test": len(task.test),
    }
    if not isinstance(task, FederatedData):
        return {"name": SILOS, **server}
    return {
        **task.partition,
        **server,
        "counts": task.class_counts(),
        "held_out": [len(part) for part in task.held_out],
        "indices": task.indices,
    }


def _partition(settings: RunSettings, task: ServerData) -> dict[str, Any]:
    """Return the partition's name and concentration; real silos have what they have."""
    if settings.executor.name == SILOS or not isinstance(task, FederatedData):
        return {"partition": SILOS, "alpha": None}
    return {"partition": task.partition["name"], "alpha": task.partition["alpha"]}


def _sizes(task: ServerData, lines: list[Line]) -> dict[int, tuple[int | None, int | None]]:
    """Return the training and held-out samples of each silo: as shared out, or as the silos said last."""
    if isinstance(task, FederatedData):
        parts = zip(task.train, task.held_out, strict=True)
        return {silo: (len(train), len(held_out)) for silo, (train, held_out) in enumerate(parts)}
    train, held_out = _latest(lines, SAMPLES), _latest(lines, HELD_OUT)
    return {int(silo): (train.get(silo), held_out.get(silo)) for silo in sorted({*train, *held_out}, key=int)}


def _latest(lines: list[Line], name: str) -> dict[str, int]:
    """Return what each silo said last; lines of earlier versions may not say it."""
    return {silo: value for line in lines for silo, value in line.get(name, {}).items()}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _versions() -> dict[str, str]:
    packages = {"fedsq_flwr": "fedsq-flwr", "torch": "torch", "flwr": "flwr", "ray": "ray"}
    return {"python": platform.python_version(), **{name: version(dist) for name, dist in packages.items()}}
