"""Data and models that a process keeps to answer messages for its silos.

A Ray actor, the in-process executor and a silo's process serve many messages each, and a silo's process serves run
after run. What does not depend on the message is built once, and kept for the last run only.
"""

import copy
import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from flwr.app import Context, Message
from torch import Tensor

from fedsq_flwr.apps.latest import Latest
from fedsq_flwr.apps.own_records import OwnRecords
from fedsq_flwr.assembly.data import load_silo, load_task
from fedsq_flwr.assembly.model import build_silo_model, gate_cache, prepare_torch, training_settings
from fedsq_flwr.assembly.network import network_bytes
from fedsq_flwr.data import FederatedData, ServerData, SiloData
from fedsq_flwr.federation import FedSQClient
from fedsq_flwr.federation.contents import array_records, config_records
from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.federation.object_store import SilosDataRecord
from fedsq_flwr.federation.packing import check_packed
from fedsq_flwr.federation.protocol import ARRAYS, CONFIG, DATA, NUM_PARTITIONS, PARTITION_ID, SETTINGS
from fedsq_flwr.federation.structures import ContextStructures, DiskStructures, Structures
from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from fedsq_flwr.learning.checkpointing import TrainingCheckpoint
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.learning.streams import WorkerStreams
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.privacy.guard import PrivacyGuard, PrivacyTerms
from fedsq_flwr.privacy.ledger import Ledger
from fedsq_flwr.records.own_figures import About
from fedsq_flwr.settings.run import MAX_JSON, RunSettings
from fedsq_flwr.settings.silo import (
    Site,
    at_site,
    privacy_folder,
    read_site,
    reports_folder,
    reports_kept,
    state_folder,
)

log = logging.getLogger(__name__)

#: The most bytes of a message to a silo that cannot know the network of the run.
MOST_BYTES = 2**32
#: What a message holds beside arrays, with the heads of the objects that Flower cuts it into.
_BESIDE_ARRAYS = MAX_JSON + 2**20
_CLASSES = 1000  # where the settings do not name them


class ModelPool:
    """Copies of a run's first model, one for each message that is being handled.

    What a message finds in a model does not matter. The travelling state comes with the message; the silo's own batch
    norm and the structure in force come from its memory, or from the first model.

    Parameters
    ----------
    first : QuantitativeCopy
        The model as every silo starts with it. Nobody writes to it.
    """

    def __init__(self, first: QuantitativeCopy) -> None:
        self.first = first
        self._lock = threading.Lock()
        self._free: list[QuantitativeCopy] = []

    @contextmanager
    def borrow(self, device: torch.device) -> Iterator[QuantitativeCopy]:
        """Lend a model on ``device`` for the length of a ``with`` block."""
        with self._lock:
            model = self._free.pop() if self._free else None
        model = copy.deepcopy(self.first) if model is None else model
        if next(model.parameters()).device != device:  # else `to` would make the fingerprint be computed again
            model = model.to(device)
        try:
            yield model
        finally:
            with self._lock:
                self._free.append(model)


class SiloService:
    """Makes the client that answers a message; data and models are kept between messages."""

    def __init__(self) -> None:
        self._settings: Latest[tuple[str, Site], RunSettings] = Latest()
        self._most_bytes: Latest[str, int] = Latest()
        self._task: Latest[tuple[RunSettings, int], FederatedData] = Latest()
        self._folder: Latest[tuple[RunSettings, int, int], SiloData] = Latest()
        self._models: Latest[tuple[RunSettings, int], ModelPool] = Latest()
        self._checkpoint: TrainingCheckpoint | None = None
        self._streams = WorkerStreams()

    @contextmanager
    def client(self, message: Message, context: Context) -> Iterator[FedSQClient]:
        """Lend the client that answers ``message`` for the silo that ``context`` is of.

        Raises
        ------
        FedSQError
            If the settings cannot be used at this silo, or the data or weights cannot be had.
        """
        settings, privacy = self.settings(message, context), privacy_of(read_site(context.node_config))
        if privacy is not None:
            privacy.check(settings.batch_norm, settings.executor.precision, settings.silo_measures)
        with torch_threads(settings.executor.threads):
            prepare_torch(settings)
            data = self.data(settings, message, context)
            models = self.models(settings, len(data.class_names))
            device = choose_device(settings.executor.device)
            train, held_out = data.train.to(device), data.held_out.to(device)
            if read_site(context.node_config).is_real:
                check_packed(array_records(message.content)[ARRAYS], models.first.quantitative_state())
            with models.borrow(device) as model, self._streams.on(device):
                yield FedSQClient(
                    model,
                    train=(train.images, train.labels),
                    held_out=(held_out.images, held_out.labels),
                    settings=training_settings(settings),
                    silo=_number(context, PARTITION_ID),
                    seed=settings.seed,
                    memory=SiloMemory(context, models.first, self.structures(context)),
                    gates=gate_cache(settings),
                    measures=settings.silo_measures,
                    privacy=privacy,
                    observer=own_records(context, settings, data),
                    checkpoint=self._training_checkpoint(settings, context),
                )

    def forget_training(self) -> None:
        """Forget the training in progress: its reply has been handed over."""
        if self._checkpoint is not None:
            self._checkpoint.remove()

    def _training_checkpoint(self, settings: RunSettings, context: Context) -> TrainingCheckpoint | None:
        site, number = read_site(context.node_config), _number(context, PARTITION_ID)
        if not site.is_real or not site.checkpoint_minutes:
            return None
        path = state_folder(site) / "training" / f"silo-{number}.pt"
        run = f"{context.run_id} {hashlib.sha256(settings.to_json().encode()).hexdigest()}"
        self._checkpoint = TrainingCheckpoint(path, 60 * site.checkpoint_minutes, run)
        return self._checkpoint

    def settings(self, message: Message, context: Context) -> RunSettings:
        """Return the settings in ``message``, as they apply at the silo of ``context``."""
        told, site = str(config_records(message.content)[CONFIG][SETTINGS]), read_site(context.node_config)
        return self._settings.get((told, site), lambda: at_site(RunSettings.from_json(told), site))

    def examples(self, message: Message, context: Context) -> tuple[int, int] | None:
        """Return how many samples the silo says that it trains on and holds out; None if the run is not told."""
        if SETTINGS not in config_records(message.content).get(CONFIG, {}):
            return None
        settings = self.settings(message, context)
        with torch_threads(settings.executor.threads):
            data = self.data(settings, message, context)
        privacy = privacy_of(read_site(context.node_config))
        counts = len(data.train), len(data.held_out)
        return counts if privacy is None else privacy.told_counts(*counts)

    def data(self, settings: RunSettings, message: Message, context: Context) -> SiloData:
        """Return the samples of the silo of ``context``: in a simulation on Ray those that ``message`` refers to."""
        silo = _number(context, PARTITION_ID)
        if read_site(context.node_config).data_path is None:
            silos = _number(context, NUM_PARTITIONS)
            shared = message.content.get(DATA)
            load = shared.load if isinstance(shared, SilosDataRecord) else partial(load_task, settings, silos)
            return self._task.get((settings, silos), load).of_silo(silo)
        # The run is part of the key: a folder may have changed since the last one.
        return self._folder.get((settings, context.run_id, silo), lambda: load_silo(settings, silo))

    def models(self, settings: RunSettings, classes: int) -> ModelPool:
        """Return the models of a run.

        The first one is built by one thread: building draws from torch's global generator, which threads share.
        """
        return self._models.get((settings, classes), lambda: ModelPool(build_silo_model(settings, classes)))

    def structures(self, context: Context) -> Structures:
        """Return where the silo of ``context`` keeps the structures that the server sends."""
        site = read_site(context.node_config)
        return DiskStructures(state_folder(site) / "structures") if site.is_real else ContextStructures(context)

    def structure(self, message: Message, context: Context) -> dict[str, Tensor]:
        """Return a structure of the network of the silo of ``context``; empty if its method has no fixed gates.

        Raises
        ------
        ValueError
            If ``message`` does not tell the settings of its run.
        FedSQError
            As `client`.
        """
        if SETTINGS not in config_records(message.content)[CONFIG]:
            raise ValueError("a structure comes without the settings of its run")
        settings = self.settings(message, context)
        with torch_threads(settings.executor.threads):
            first = self.models(settings, len(self.data(settings, message, context).class_names)).first
        return first.structural_state() if isinstance(first, DualCopy) else {}

    def most_bytes(self, context: Context) -> int:
        """Return the most bytes that a message of the run of ``context`` may have: those of the silo's network.

        Where the run config does not hold the settings, the network is not known. Then the answer is `MOST_BYTES`.

        Raises
        ------
        ConfigurationError
            If the run's settings are none.
        """
        told = str(context.run_config.get(SETTINGS, ""))
        if not told:
            return MOST_BYTES
        return self._most_bytes.get(told, lambda: _most_bytes(RunSettings.from_json(told)))

    def adopt(self, settings: RunSettings, data: ServerData) -> None:
        """Use ``data``, which the server in this process has loaded, for the silos of the run of ``settings`` too."""
        if isinstance(data, FederatedData):
            self._task.put((settings, settings.silos), data)


def own_records(context: Context, settings: RunSettings, data: SiloData) -> OwnRecords | None:
    """Return what records a silo's own figures; None for a silo that keeps none, as that of a simulation."""
    site, run = read_site(context.node_config), str(context.run_id)
    most = reports_kept(site)
    if not most:
        return None
    about = About(
        run=run,
        silo=_number(context, PARTITION_ID),
        silos=_number(context, NUM_PARTITIONS),
        name=site.name,
        method=settings.method.name,
        backbone=settings.backbone.name,
        rounds=settings.rounds,
        class_names=tuple(data.class_names),
        train=len(data.train),
        held_out=len(data.held_out),
        silos_validate=settings.silos_validate,
    )
    wanted = data.held_out_files if site.keep_predictions else ()
    files = [os.path.relpath(path, site.data_path) for path in wanted] or None
    folder, local = reports_folder(site) / run, site.local_model
    return OwnRecords(folder, about, seed=settings.seed, most=most, local=local, files=files)


def privacy_of(site: Site) -> PrivacyGuard | None:
    """Return what a silo enforces; None if its operator has no privacy settings."""
    ledger = Ledger(privacy_folder(site))
    if site.privacy is None:
        if site.is_real:
            ledger.require_unused()
        return None
    return PrivacyGuard(PrivacyTerms(**site.privacy.plain()), ledger)


def _most_bytes(settings: RunSettings) -> int:
    classes = getattr(settings.data, "classes", None) or range(_CLASSES)
    return network_bytes(settings.backbone, len(classes)) + _BESIDE_ARRAYS


def _number(context: Context, key: str) -> int:
    return int(context.node_config[key])
