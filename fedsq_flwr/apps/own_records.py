"""What a real silo records for itself while it takes part in a run: its own figures, exact, beside the ledger."""

import csv
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import numpy as np
from torch import Tensor

from fedsq_flwr.errors import FedSQError
from fedsq_flwr.federation.local_model import LocalModel, Standing
from fedsq_flwr.federation.silo import RoundOrders, Silo
from fedsq_flwr.files import oldest_beyond, write_whole
from fedsq_flwr.learning import Evaluation, Predictions, TrainingResult, derive_seed
from fedsq_flwr.learning.measures import Floats, bootstrap_mean
from fedsq_flwr.records.own_figures import PREDICTIONS, About, OwnFigures, OwnRound, OwnRun
from fedsq_flwr.records.results import measured_on_test

log = logging.getLogger(__name__)

_LOCAL = "local.safetensors"
_LEAST = 1e-12  # of a probability, in a loss
_LOCAL_KEPT = 4  # local models of runs, the newest


class OwnRecords:
    """An `Observer` that writes what it sees to the silo's disk. What goes wrong there costs the run nothing.

    Parameters
    ----------
    folder : Path
        The run's, at the silo.
    about : About
        What the run is.
    seed : int
        Of the bootstrap.
    most : int
        Runs whose folders are kept, this one included; at least 1.
    local : bool
        Whether a local model is trained.
    files : sequence of str, optional
        The names of the held-out images, in their order, if predictions are to be kept.
    """

    def __init__(
        self,
        folder: Path,
        about: About,
        *,
        seed: int,
        most: int,
        local: bool = False,
        files: Sequence[str] | None = None,
    ) -> None:
        self._run = OwnRun(folder)
        self._about = about
        self._seed = derive_seed(seed, "own figures")
        self._most = most
        self._local = LocalModel(folder / _LOCAL) if local else None
        self._files = files

    def before_training(self, silo: Silo, state: Mapping[str, Tensor], orders: RoundOrders) -> bool:  # noqa: ARG002
        """Train the local model for the round, if there is to be one."""
        if self._local is None:
            return False
        with self._at_its_own_cost("the local model was not trained"):
            self._local.train(silo, orders)
            for old in oldest_beyond(self._run.folder.parent.glob(f"*/{_LOCAL}"), _LOCAL_KEPT):
                old.unlink()
        return True

    def trained(self, orders: RoundOrders, result: TrainingResult) -> None:
        """Record loss and duration of the training, and tell the operator if it diverged."""
        if not math.isfinite(result.loss):
            log.warning("round %d: training diverged (loss %s), as from too large a rate", orders.round, result.loss)
        with self._at_its_own_cost("the training was not recorded"):
            self._run.begin(self._about, self._most)
            told = {"round": orders.round, "train_loss": result.loss, "train_seconds": result.seconds}
            self._run.add(OwnRound.model_validate(told))

    def evaluated(self, silo: Silo, orders: RoundOrders, result: Evaluation) -> None:
        """Record the figures of the averaged model, and of the local one."""
        with self._at_its_own_cost("the evaluation was not recorded"):
            self._run.begin(self._about, self._most)
            told: dict[str, object] = {"round": orders.round, "federated": self._figures(result)}
            standing = None if self._local is None else self._local.load_into(silo.model)
            alone = None if standing is None else silo.assess(predictions=True)
            if alone is not None and standing is not None:
                told |= self._compared(result, alone, standing)
            self._run.add(OwnRound.model_validate(told))
            if self._files is not None and result.predictions is not None:
                table = _csv(self._files, self._about.class_names, orders.round, result.predictions, alone)
                write_whole(self._run.folder / PREDICTIONS, table)

    def _compared(self, federated: Evaluation, alone: Evaluation, standing: Standing) -> dict[str, object]:
        gain = _right(federated) - _right(alone)
        return {
            "local": self._figures(alone),
            "local_first": standing.first,
            "local_rounds": standing.rounds,
            "gain": float(gain.mean()),
            "gain_interval": bootstrap_mean(gain, self._seed),
        }

    def _figures(self, result: Evaluation) -> OwnFigures:
        said = result.predictions
        told: dict[str, object] = {"loss": result.loss, "accuracy": result.accuracy}
        if said is not None and said.are_finite:
            right = said.probabilities[np.arange(len(said.labels)), said.labels].astype(np.float64)
            told |= {"loss_interval": bootstrap_mean(-np.log(right.clip(_LEAST)), self._seed)}
            told |= {"measures": measured_on_test(said, self._seed)}
        return OwnFigures.model_validate(told)

    @contextmanager
    def _at_its_own_cost(self, lost: str) -> Iterator[None]:
        try:
            yield
        except (OSError, FedSQError, ValueError, RuntimeError) as error:  # torch's errors are of the last kind
            log.warning("site report: %s: %s", lost, error)


def _right(result: Evaluation) -> Floats:
    said = result.predictions
    if said is None:
        raise ValueError("an evaluation without predictions")
    return (said.labels == said.predicted).astype(np.float64)  # type: ignore[no-any-return]


def _csv(
    files: Sequence[str], classes: Sequence[str], server_round: int, said: Predictions, alone: Evaluation | None
) -> bytes:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    local = None if alone is None or alone.predictions is None else alone.predictions.predicted
    writer.writerow(
        ["file", "class", "round", "predicted", *([] if local is None else ["local_predicted"]), *classes]
    )
    for place, file in enumerate(files):
        row = [classes[said.labels[place]], server_round, classes[said.predicted[place]]]
        row += [] if local is None else [classes[local[place]]]
        writer.writerow([file, *row, *(f"{probability:.6f}" for probability in said.probabilities[place])])
    return text.getvalue().encode("utf-8", "surrogateescape")  # names of files are bytes, not all of them UTF-8
