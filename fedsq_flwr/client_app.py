"""The Flower app of a silo: ten lines that hand each message to a `FedSQClient`."""

import copy
import threading
from functools import lru_cache

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedsq_flwr.assembly import build_model, gate_cache, load_kernels, load_task, training_settings
from fedsq_flwr.data import FederatedData
from fedsq_flwr.federation import FedSQClient
from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.federation.messages import (
    NUM_PARTITIONS,
    PARTITION_ID,
    answer_evaluate,
    answer_query,
    answer_train,
)
from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.run_config import RunKey, config_of, key_of

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which silo this is."""
    return answer_query(message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on this silo's samples."""
    with torch_threads(config_of(key_of(context)).executor.threads):
        return answer_train(client_of(context), message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate on this silo's held-out samples."""
    with torch_threads(config_of(key_of(context)).executor.threads):
        return answer_evaluate(client_of(context), message)


def client_of(context: Context) -> FedSQClient:
    """Build the client of the silo that ``context`` is of."""
    key = key_of(context)
    config = config_of(key)
    silo, silos = int(context.node_config[PARTITION_ID]), int(context.node_config[NUM_PARTITIONS])
    load_kernels(config)
    task = _task(key, silos)
    classes = len(task.class_names)
    device = choose_device(config.executor.device)
    train_part, held_out = task.train[silo].to(device), task.held_out[silo].to(device)
    return FedSQClient(
        _model(key, classes, threading.get_ident()).to(device),
        train=(train_part.images, train_part.labels),
        held_out=(held_out.images, held_out.labels),
        settings=training_settings(config),
        silo=silo,
        seed=config.seed,
        memory=SiloMemory(context, _start(key, classes)),
        gates=gate_cache(config),
    )


# A Ray actor and the in-process executor serve many messages, of many silos, from one process. What does
# not depend on the silo is built once in it. Each thread has a model of its own, copied from one that is
# built under a lock (building draws from torch's global generator, which threads share) and that nobody
# writes to. What a message finds in its thread's model does not matter: the travelling state comes with
# the message, a silo's own batch norm and the structure in force from its memory or from that first model.
_BUILDING = threading.Lock()


@lru_cache(maxsize=1)
def _task(key: RunKey, silos: int) -> FederatedData:
    return load_task(config_of(key), silos)


@lru_cache(maxsize=1)
def _first_model(key: RunKey, classes: int) -> QuantitativeCopy:
    return build_model(config_of(key), classes)


@lru_cache(maxsize=64)
def _model(key: RunKey, classes: int, thread: int) -> QuantitativeCopy:  # noqa: ARG001 - part of the cache's key
    with _BUILDING:
        return copy.deepcopy(_first_model(key, classes))


def _start(key: RunKey, classes: int) -> QuantitativeCopy:
    with _BUILDING:
        return _first_model(key, classes)
