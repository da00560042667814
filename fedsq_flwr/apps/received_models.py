"""The models that a real silo was given: each is checked, and laid out on its disk as a run's directory is.

So ``fedsq predict STATE_DIR/models/RUN`` works at the silo, without the server.
"""

import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict

from fedsq_flwr.apps.silo_service import SiloService
from fedsq_flwr.errors import FedSQError, RunFailedError, WeightsError
from fedsq_flwr.federation.contents import array_records, config_records
from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.federation.packing import check_packed, unpack
from fedsq_flwr.federation.protocol import (
    CONFIG,
    FINGERPRINT,
    MODEL,
    MODEL_CHOICE,
    MODEL_ROUND,
    MODEL_RUN,
    REFUSES,
    SHA256,
    STRUCTURE,
)
from fedsq_flwr.files import oldest_beyond, write_as_json, writing
from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.models import state_digest
from fedsq_flwr.models.weights import read_metadata
from fedsq_flwr.records.checkpoints import Checkpoints, digest_of_names, pixels_of
from fedsq_flwr.records.config import CONFIG as CONFIG_FILE
from fedsq_flwr.records.config import write_config
from fedsq_flwr.records.deliveries import checkpoint_of
from fedsq_flwr.records.history import Line
from fedsq_flwr.settings.partition_file import PARTITION, REAL_SILOS, PartitionFile
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import models_folder, models_kept, read_site

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """What the server says of a model; see `RunModel`."""

    run: str
    choice: str
    round: int
    sha256: str
    fingerprint: str


def answer_model(message: Message, context: Context, service: SiloService) -> Message:
    """Say whether the silo keeps a model and has its structure; keep what the message brings of them.

    No image is read: the run may be an earlier one.

    Raises
    ------
    FedSQError
        If the model cannot be made here, or cannot be stored.
    ValueError
        If the message does not say what it should, or the model is not what it is said to be.
    """
    offer, site = _offer_in(message), read_site(context.node_config)
    most = models_kept(site)
    if not most:
        return _reply(message, {REFUSES: True})
    settings = service.settings(message, context)
    kept = ReceivedModels(models_folder(site), most)
    if kept.sha256(offer) == offer.sha256:
        return _reply(message, {MODEL: offer.sha256})
    names = settings.data.classes
    if not names:
        raise ValueError("the settings of the model's run do not name its classes")
    arrays = array_records(message.content)
    with torch_threads(settings.executor.threads):
        pool = service.models(settings, len(names))
        if STRUCTURE in arrays and isinstance(pool.first, DualCopy):
            check_packed(arrays[STRUCTURE], pool.first.structural_state())
            service.structures(context).keep(offer.fingerprint, unpack(arrays[STRUCTURE], "float32"))
        with pool.borrow(torch.device("cpu")) as model:
            _enter_structure(model, SiloMemory(context, pool.first, service.structures(context)), offer)
            if MODEL not in arrays:
                has = offer.fingerprint and model.fingerprint == offer.fingerprint
                return _reply(message, {FINGERPRINT: offer.fingerprint} if has else {})
            if model.fingerprint != offer.fingerprint:
                raise ValueError("lacks the structure that the model was made with")
            check_packed(arrays[MODEL], pool.first.quantitative_state())
            state = unpack(arrays[MODEL], "float32")
            if state_digest(state) != offer.sha256:
                raise ValueError("the model is not the one that it is said to be: its sha256 is another")
            model.load_quantitative_state(state)
            path = kept.keep(offer, settings, tuple(names), model)
    log.info("run %s: its %s model, of round %d, is in %s", offer.run, offer.choice, offer.round, path)
    return _reply(message, {MODEL: offer.sha256})


class ReceivedModels:
    """The ``most`` newest models in a folder, a run each."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most

    def sha256(self, offer: Offer) -> str | None:
        """Return the digest of the model that is kept of a run; None if there is none, or it is damaged."""
        path = self._checkpoints(offer.run).path(checkpoint_of(offer.choice))
        try:
            return read_metadata(path).get("digest") if path.exists() else None
        except FedSQError as error:
            log.warning("%s; the server is asked for it again", error)
            return None

    def keep(self, offer: Offer, settings: RunSettings, names: tuple[str, ...], model: QuantitativeCopy) -> Path:
        """Write a model, with what it takes to use it; the oldest make room. Return the directory.

        Raises
        ------
        WeightsError
            If it cannot be stored; the silo's own log says where.
        """
        directory = self._folder / offer.run
        # The figures of the round are the server's and the other silos'.
        nothing = dict.fromkeys(("train_loss", "loss", "accuracy", "test_accuracy", "seconds"))
        line = Line.model_validate({**nothing, "round": offer.round, "replies": 0, "fingerprint": offer.fingerprint})
        structure = model.structural_state() if isinstance(model, DualCopy) and offer.fingerprint else None
        about = PartitionFile(name=REAL_SILOS, class_names=names, validation=0, test=0)
        checkpoints = self._checkpoints(offer.run)
        checkpoints.pixels = {**pixels_of(settings.backbone), "classes": digest_of_names(names)}
        try:
            with writing(directory):
                directory.mkdir(parents=True, exist_ok=True)
                write_config(directory / CONFIG_FILE, settings)
                write_as_json(directory / PARTITION, about)
                checkpoints.save(checkpoint_of(offer.choice), model.quantitative_state(), line, structure)
                self._make_room(directory)
        except RunFailedError as error:
            log.error("the model of run %s cannot be kept: %s", offer.run, error)
            raise WeightsError(f"cannot store the model in state_dir: {str(error).rpartition(': ')[2]}") from error
        return directory

    def _checkpoints(self, run: str) -> Checkpoints:
        return Checkpoints(self._folder / run / "checkpoints")

    def _make_room(self, new: Path) -> None:
        others = [path for path in self._folder.iterdir() if path.name.isdigit() and path != new]
        for path in oldest_beyond(others, self._most - 1):
            shutil.rmtree(path)


def _enter_structure(model: QuantitativeCopy, memory: SiloMemory, offer: Offer) -> None:
    if isinstance(model, DualCopy):
        model.gated = bool(offer.fingerprint)
        if model.fingerprint != offer.fingerprint:
            memory.load_structure(model, offer.fingerprint)


def _offer_in(message: Message) -> Offer:
    """Return what a message says of a model.

    Raises
    ------
    ValueError
        If it is not what a server says; what it says becomes the name of a folder.
    """
    told = config_records(message.content).get(CONFIG, ConfigRecord())
    patterns = {MODEL_RUN: r"\d{1,20}", MODEL_CHOICE: "best|final", SHA256: "[0-9a-f]{64}", FINGERPRINT: "[0-9a-f]*"}
    texts = {name: told.get(name, "" if name == FINGERPRINT else None) for name in patterns}
    for name, pattern in patterns.items():
        value = texts[name]
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"{name} of the model is not what it should be")
    number = told.get(MODEL_ROUND)
    if type(number) is not int or not 1 <= number < 2**31:
        raise ValueError(f"{MODEL_ROUND} of the model is not what it should be")
    run, choice, sha256, fingerprint = map(str, texts.values())
    return Offer(run, choice, number, sha256, fingerprint)


def _reply(message: Message, told: Mapping[str, Any]) -> Message:
    return Message(RecordDict({CONFIG: ConfigRecord(dict(told))}), reply_to=message)
