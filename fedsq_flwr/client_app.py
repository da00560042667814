"""The Flower app of a silo: ten lines that hand each message to a `FedSQClient`."""

import copy
import threading
from functools import lru_cache
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedsq_flwr.assembly import build_silo_model, gate_cache, load_kernels, load_silo, load_task, training_settings
from fedsq_flwr.config import Config
from fedsq_flwr.config.site import NUM_PARTITIONS, PARTITION_ID, Site
from fedsq_flwr.data import FederatedData, SiloData
from fedsq_flwr.federation import FedSQClient
from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.federation.messages import METRICS, UNREADABLE, answer_evaluate, answer_query, answer_train
from fedsq_flwr.federation.structures import ContextStructures, DiskStructures, Structures
from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.run_config import RunKey, config_of, key_of, site_of

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which silo this is, and keep a structure that comes along."""
    return answer_query(message, context, _structures(context))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on this silo's samples."""
    with torch_threads(_config(context).executor.threads):
        reply = answer_train(client_of(context), message)
    if (site := site_of(context)).is_real:
        reply.content.metric_records[METRICS][UNREADABLE] = _data(context, key_of(context), site).unreadable
    return reply


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate on this silo's held-out samples."""
    with torch_threads(_config(context).executor.threads):
        return answer_evaluate(client_of(context), message)


def client_of(context: Context) -> FedSQClient:
    """Build the client of the silo that ``context`` is of."""
    key, site, config = key_of(context), site_of(context), _config(context)
    load_kernels(config)
    data = _data(context, key, site)
    classes = len(data.class_names)
    device = choose_device(config.executor.device)
    train_part, held_out = data.train.to(device), data.held_out.to(device)
    return FedSQClient(
        _model(key, site, classes).to(device),
        train=(train_part.images, train_part.labels),
        held_out=(held_out.images, held_out.labels),
        settings=training_settings(config),
        silo=int(context.node_config[PARTITION_ID]),
        seed=config.seed,
        memory=SiloMemory(context, _start(key, site, classes), _structures(context)),
        gates=gate_cache(config),
    )


def _config(context: Context) -> Config:
    return config_of(key_of(context), site_of(context))


def _structures(context: Context) -> Structures:
    if site_of(context).is_real:
        return DiskStructures(Path(_config(context).cache_dir) / "structures")
    return ContextStructures(context)


# A Ray actor, the in-process executor and a silo's process serve many messages from one process. What does not
# depend on the message is built once in it, and kept for the last run only: a silo's process serves run after run.
# Each thread has a model of its own, copied from one that is built under a lock (building draws from torch's global
# generator, which threads share) and that nobody writes to. What a message finds in its thread's model does not
# matter: the travelling state comes with the message, a silo's own batch norm and the structure in force from its
# memory or from that first model.
_BUILDING = threading.Lock()
_OF_THREAD = threading.local()


def _data(context: Context, key: RunKey, site: Site) -> SiloData:
    silo, silos = int(context.node_config[PARTITION_ID]), int(context.node_config[NUM_PARTITIONS])
    return (
        _task(key, site, silos).of_silo(silo) if site.data_path is None else _folder(key, site, context.run_id, silo)
    )


@lru_cache(maxsize=1)
def _task(key: RunKey, site: Site, silos: int) -> FederatedData:
    return load_task(config_of(key, site), silos)


# The run is part of the key: a folder may have changed since the last one.
@lru_cache(maxsize=1)
def _folder(key: RunKey, site: Site, run_id: int, silo: int) -> SiloData:  # noqa: ARG001
    _folder.cache_clear()  # the images of the last run go before those of this one are read
    return load_silo(config_of(key, site), silo)


@lru_cache(maxsize=1)
def _first_model(key: RunKey, site: Site, classes: int) -> QuantitativeCopy:
    return build_silo_model(config_of(key, site), classes)


def _start(key: RunKey, site: Site, classes: int) -> QuantitativeCopy:
    with _BUILDING:
        return _first_model(key, site, classes)


def _model(key: RunKey, site: Site, classes: int) -> QuantitativeCopy:
    wanted = (key, site, classes)
    if getattr(_OF_THREAD, "built_for", None) != wanted:
        _OF_THREAD.model = copy.deepcopy(_start(key, site, classes))
        _OF_THREAD.built_for = wanted
    model: QuantitativeCopy = _OF_THREAD.model
    return model
