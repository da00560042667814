"""The run's model goes to its silos at the end, and every few rounds; what earlier runs owe is sent as well."""

import logging
from collections.abc import Collection
from pathlib import Path

import httpx

from fedsq_flwr.apps.callbacks import Callback
from fedsq_flwr.apps.federation import Federation
from fedsq_flwr.apps.flower_log import log_delivery
from fedsq_flwr.errors import FedSQError
from fedsq_flwr.federation.model_delivery import RunModel, deliver
from fedsq_flwr.federation.rounds import Round
from fedsq_flwr.federation.wire import Wire
from fedsq_flwr.files import read_as, write_as_json, writing
from fedsq_flwr.gating import DualCopy
from fedsq_flwr.records.deliveries import DELIVERIES, Deliveries, checkpoint_of, runs_beside
from fedsq_flwr.records.restoring import restore
from fedsq_flwr.settings.executor import RealSilos
from fedsq_flwr.settings.silo import for_real_silos

log = logging.getLogger(__name__)


class Deliver(Callback):
    """Delivers the model that ``executor.send_model`` names. What goes wrong is a warning: the numbers are safe.

    Parameters
    ----------
    directory : Path
        The run's, with its checkpoints. What other runs beside it owe is delivered from theirs.
    federation : Federation
        What runs the rounds.
    wire : Wire
        Carries the messages.
    """

    def __init__(self, directory: Path, federation: Federation, wire: Wire) -> None:
        self._directory = directory
        self._settings = federation.settings
        self._registry = federation.strategy.registry
        self._wire = wire
        self._run = str(wire.run.run_id)

    def after_round(self, finished: Round) -> None:
        """Deliver the model after every ``executor.model_every`` rounds."""
        executor = self._settings.executor
        every = executor.model_every if isinstance(executor, RealSilos) else 0
        if every and finished.number % every == 0 and finished.number < self._settings.rounds:
            self._attempt(self._directory, self._before())

    def after_run(self) -> None:
        """Deliver the model, then what other runs owe to silos that are connected."""
        self._attempt(self._directory, self._before())
        for other in runs_beside(self._directory):
            try:
                before = read_as(Deliveries, other / DELIVERIES)
                if before.owed:
                    self._attempt(other, before)
            except FedSQError as error:
                log.warning("what an earlier run owes cannot be told: %s", error)

    def _before(self) -> Deliveries:
        """Return this run's deliveries so far: those of an earlier attempt, too, are owed."""
        path, choice = self._directory / DELIVERIES, self._settings.model_for_silos
        owed = read_as(Deliveries, path).owed if path.exists() else {}
        took_part = {str(node): silo for node, silo in self._registry.known().items()}
        return Deliveries.model_validate({"run": self._run, "choice": choice, "owed": {**owed, **took_part}})

    def _attempt(self, directory: Path, before: Deliveries) -> None:
        try:
            connected = {node for node in self._registry.update(self._wire) if str(node) in before.owed}
            if connected or directory == self._directory:
                self._deliver(directory, before, connected)
        except (FedSQError, httpx.HTTPError) as error:
            log.warning("the model of %s was not delivered: %s", directory, error)

    def _deliver(self, directory: Path, before: Deliveries, connected: Collection[int]) -> None:
        model = model_to_deliver(directory, before.run, before.choice)
        done = deliver(self._wire, sorted(connected), model, self._settings.executor.round_timeout)
        has = {before.owed[str(node)] for node in done.kept | done.refusing} | {*before.received}
        owed = {node: silo for node, silo in before.owed.items() if silo not in has}
        told = {"run": before.run, "choice": before.choice, "received": tuple(sorted(has)), "owed": owed}
        with writing(directory):
            write_as_json(directory / DELIVERIES, Deliveries.model_validate(told))
        for node, reason in sorted(done.failed.items()):
            log.warning("%s does not have the model of run %s: %s", self._registry.name(node), before.run, reason)
        log_delivery(model, len(done.kept), len(done.refusing), len(owed))


def model_to_deliver(directory: Path, run: str, choice: str) -> RunModel:
    """Return the model of the run in a directory.

    Raises
    ------
    FedSQError
        If it cannot be restored.
    """
    restored = restore(directory / "checkpoints" / checkpoint_of(choice))
    model = restored.model
    return RunModel(
        run=run,
        choice=choice,
        round=restored.round,
        state=model.quantitative_state(),
        fingerprint=model.fingerprint,
        structure=lambda: model.structural_state() if isinstance(model, DualCopy) else {},
        settings=for_real_silos(restored.settings).to_json(),
    )
