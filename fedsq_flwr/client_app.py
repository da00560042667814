"""The Flower app of a silo: ten lines that hand each message to a `FedSQClient`."""

import copy
import threading
from functools import lru_cache

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedsq_flwr.assembly.data import load_silo, load_task
from fedsq_flwr.assembly.model import build_silo_model, gate_cache, load_kernels, training_settings
from fedsq_flwr.data import FederatedData, SiloData
from fedsq_flwr.federation import FedSQClient, answer_evaluate, answer_query, answer_train
from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.federation.protocol import CONFIG, METRICS, SETTINGS, UNREADABLE
from fedsq_flwr.federation.structures import ContextStructures, DiskStructures, Structures
from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import NUM_PARTITIONS, PARTITION_ID, Site, at_site, read_site, state_folder

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which silo this is, and keep a structure that comes along."""
    return answer_query(message, context, _structures(context))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on this silo's samples."""
    settings = _settings(message, context)
    with torch_threads(settings.executor.threads):
        reply = answer_train(client_of(settings, context), message)
    if (site := read_site(context.node_config)).is_real:
        reply.content.metric_records[METRICS][UNREADABLE] = _data(settings, context, site).unreadable
    return reply


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate on this silo's held-out samples."""
    settings = _settings(message, context)
    with torch_threads(settings.executor.threads):
        return answer_evaluate(client_of(settings, context), message)


def client_of(settings: RunSettings, context: Context) -> FedSQClient:
    """Build the client of the silo that ``context`` is of."""
    site = read_site(context.node_config)
    load_kernels(settings)
    data = _data(settings, context, site)
    classes = len(data.class_names)
    device = choose_device(settings.executor.device)
    train_part, held_out = data.train.to(device), data.held_out.to(device)
    return FedSQClient(
        _model(settings, classes).to(device),
        train=(train_part.images, train_part.labels),
        held_out=(held_out.images, held_out.labels),
        settings=training_settings(settings),
        silo=int(context.node_config[PARTITION_ID]),
        seed=settings.seed,
        memory=SiloMemory(context, _start(settings, classes), _structures(context)),
        gates=gate_cache(settings),
    )


def _settings(message: Message, context: Context) -> RunSettings:
    """Return the settings of the run that the message tells, as they hold at this silo."""
    told = str(message.content.config_records[CONFIG][SETTINGS])
    return _settings_at(told, read_site(context.node_config))


@lru_cache(maxsize=4)
def _settings_at(told: str, site: Site) -> RunSettings:
    return at_site(RunSettings.from_json(told), site)


def _structures(context: Context) -> Structures:
    site = read_site(context.node_config)
    return DiskStructures(state_folder(site) / "structures") if site.is_real else ContextStructures(context)


# A Ray actor, the in-process executor and a silo's process serve many messages from one process. What does not
# depend on the message is built once in it, and kept for the last run only: a silo's process serves run after run.
# Each thread has a model of its own, copied from one that is built under a lock (building draws from torch's global
# generator, which threads share) and that nobody writes to. What a message finds in its thread's model does not
# matter: the travelling state comes with the message, a silo's own batch norm and the structure in force from its
# memory or from that first model.
_BUILDING = threading.Lock()
_OF_THREAD = threading.local()


def _data(settings: RunSettings, context: Context, site: Site) -> SiloData:
    silo, silos = int(context.node_config[PARTITION_ID]), int(context.node_config[NUM_PARTITIONS])
    if site.data_path is None:
        return _task(settings, silos).of_silo(silo)
    return _folder(settings, context.run_id, silo)


@lru_cache(maxsize=1)
def _task(settings: RunSettings, silos: int) -> FederatedData:
    return load_task(settings, silos)


# The run is part of the key: a folder may have changed since the last one.
@lru_cache(maxsize=1)
def _folder(settings: RunSettings, run_id: int, silo: int) -> SiloData:  # noqa: ARG001
    _folder.cache_clear()  # the images of the last run go before those of this one are read
    return load_silo(settings, silo)


@lru_cache(maxsize=1)
def _first_model(settings: RunSettings, classes: int) -> QuantitativeCopy:
    return build_silo_model(settings, classes)


def _start(settings: RunSettings, classes: int) -> QuantitativeCopy:
    with _BUILDING:
        return _first_model(settings, classes)


def _model(settings: RunSettings, classes: int) -> QuantitativeCopy:
    wanted = (settings, classes)
    if getattr(_OF_THREAD, "built_for", None) != wanted:
        _OF_THREAD.model = copy.deepcopy(_start(settings, classes))
        _OF_THREAD.built_for = wanted
    model: QuantitativeCopy = _OF_THREAD.model
    return model
