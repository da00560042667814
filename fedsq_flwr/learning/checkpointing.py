"""A training in progress, kept on disk: it goes on to the bit after its process has ended."""

import io
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedsq_flwr.files import write_whole
from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.learning.seeding import global_states, set_global_states
from fedsq_flwr.learning.sgd import SGD

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a training came, beside the model and the optimiser.

    Attributes
    ----------
    total : Tensor
        The summed loss of the samples seen, a float64 scalar on the model's device.
    steps, seen : int
        Finished steps, and the samples in them.
    seconds : float
        That they took, in processes that ended.
    """

    total: Tensor
    steps: int = 0
    seen: int = 0
    seconds: float = 0.0


class TrainingCheckpoint:
    """A file with the state of one training at a time.

    Whatever the state does not hold (the order of the samples, their views) follows from the seed and the number of
    steps.

    Parameters
    ----------
    path : Path
        The file.
    seconds : float
        Between two writings; also before the first.
    run : str
        Names what every training of a run depends on.
    """

    def __init__(self, path: Path, seconds: float, run: str = "") -> None:
        self._path = path
        self._seconds = seconds
        self._run = run
        self._training = ""
        self._kept: dict[str, Any] | None = None
        self._written = math.inf

    def begin(self, training: str) -> None:
        """Begin a training, or go on with it: ``training`` names all else that it depends on.

        What is kept of any other training is removed.
        """
        self._training, self._written = f"{self._run} {training}", time.monotonic()
        self._kept = self._read()
        if self._kept is None or self._kept["training"] != self._training:
            self.remove()

    def restore(self, progress: Progress, model: QuantitativeCopy, optimizer: SGD) -> None:
        """Put what is kept of the training into its parts, and into torch's global generators; nothing if none is."""
        if self._kept is None:
            return
        kept, self._kept = self._kept, None
        model.quantitative.load_state_dict(kept["model"])
        optimizer.load_momentum(kept["momentum"])
        progress.total.copy_(kept["total"])
        progress.steps, progress.seen, progress.seconds = kept["steps"], kept["seen"], kept["seconds"]
        set_global_states(kept["generators"], progress.total.device)
        log.info("training goes on after step %d, from %s", progress.steps, self._path.name)

    def is_due(self) -> bool:
        """Tell whether it is time to write."""
        return time.monotonic() - self._written >= self._seconds

    def write(self, progress: Progress, model: QuantitativeCopy, optimizer: SGD) -> None:
        """Write the state, in place of the one before. A disk that is full ends no training."""
        state = {
            "training": self._training,
            "model": {name: tensor.cpu() for name, tensor in model.quantitative.state_dict().items()},
            "momentum": [None if each is None else each.cpu() for each in optimizer.momentum()],
            "generators": global_states(progress.total.device),
            "total": progress.total.cpu(),
            "steps": progress.steps,
            "seen": progress.seen,
            "seconds": progress.seconds,
        }
        content = io.BytesIO()
        torch.save(state, content)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, content.getvalue())
        except OSError as error:
            log.warning("%s: the training in progress cannot be kept: %s", self._path, error.strerror or error)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Remove the file."""
        self._kept = None
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: cannot be removed: %s", self._path, error.strerror or error)

    def _read(self) -> dict[str, Any] | None:
        if not self._path.is_file():
            return None
        try:
            kept: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
            return kept if "training" in kept else None
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the file, the training begins again
            log.warning("%s: cannot be read (%s); the training begins again", self._path, type(error).__name__)
            return None
