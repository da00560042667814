"""What travels between server and silos: the names of the records, and of what stands in them.

A message to ``train`` or ``evaluate`` holds two records: `ARRAYS`, which is the model, and `CONFIG`, which holds
`ROUND` and what else applies to the round. A reply holds `METRICS`, the `ROUND` and `FINGERPRINT` of its message in
`CONFIG`, and, after training, `ARRAYS`. A message to ``query`` asks a node which silo it is, and may bring a
`STRUCTURE`. A message to ``query.statistics`` holds `ARRAYS` and `CONFIG`; the reply holds `STATISTICS`.
A message to ``query.audit`` is empty; the reply holds `AUDIT_LINES` and `AUDIT_LAST`. A message to ``query.model``
offers a silo the model of a run, and may bring it as `MODEL`.
"""

from collections.abc import Iterable
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord

from fedsq_flwr.federation.arrays import TensorArray
from fedsq_flwr.federation.contents import config_records
from fedsq_flwr.settings import silo

# Records.
ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
STRUCTURE = "structure"
STATISTICS = "statistics"
MODEL = "model"
DATA = "data"  # in a simulation on Ray, see `object_store`

#: The kind of message that asks for the moments of what enters each batch norm; its action is `STATISTICS`.
ASK_STATISTICS = f"{MessageType.QUERY}.{STATISTICS}"
#: The kind of message that asks for the length and the last hash of the audit log; its action is `AUDIT`.
AUDIT = "audit"
ASK_AUDIT = f"{MessageType.QUERY}.{AUDIT}"

#: The kind of message that gives a silo the model of a run; its action is `MODEL`.
GIVE_MODEL = f"{MessageType.QUERY}.{MODEL}"
# In the config of such a message: the run's number, which of its models, of which round, and its digest.
MODEL_RUN, MODEL_CHOICE, MODEL_ROUND, SHA256 = "model-run", "model-choice", "model-round", "sha256"
# In the config of the answer: that the silo takes no models. The digest of a model that it keeps is in `MODEL`.
REFUSES = "refuses"

# In the config of a message, and of its reply.
ROUND = "server-round"
FINGERPRINT = "fingerprint"

# In the config of a message. The settings of a run travel as one line of JSON, in the run config too.
OWN_RELUS = "own-relus"
HEAD_ONLY = "head-only"
PROXIMAL_MU = "proximal-mu"
SETTINGS = "settings"

# In the node config of a silo, and in its answer to a query.
PARTITION_ID, NUM_PARTITIONS = silo.PARTITION_ID, silo.NUM_PARTITIONS
#: Likewise, of a silo that has a name.
NAME = "name"

# In the answer to a query, from a silo that knows its data: its numbers of training and of held-out samples.
TRAIN_EXAMPLES, EVALUATE_EXAMPLES = "train-examples", "evaluate-examples"

# In the answer to a query for the audit log.
AUDIT_LINES, AUDIT_LAST = "audit-lines", "audit-last"

# Metrics of a reply.
WEIGHT = "num-examples"
TRAIN_LOSS = "train_loss"
TRAIN_SECONDS = "train_seconds"
LOSS = "loss"
ACCURACY = "accuracy"
UNREADABLE = "unreadable-files"
# Of predictions, see `class_counts`; all but the last are lists.
CLASS_COUNTS = "class-counts"
CONFUSION = "confusion-matrix"
CALIBRATION = "calibration-gaps"
AUROC = "auroc"


def count_bytes(messages: Iterable[Message]) -> int:
    """Return the bytes that the records of ``messages`` hold: values, and the names they go by.

    The settings of the run are left out. They are 2 to 3 kB of each message, and their length depends on paths, which
    must change no number of a run.
    """
    return sum(_bytes_of(record) for m in messages if m.has_content() for record in m.content.values())


def _bytes_of(record: ArrayRecord | ConfigRecord | MetricRecord) -> int:
    """Return what Flower's ``count_bytes`` does, also for empty text and lists, and for values that are no values."""
    values = (
        (name, value) for name, value in record.items() if name != SETTINGS or not isinstance(record, ConfigRecord)
    )
    return sum(len(name) + _bytes_of_value(value) for name, value in values)


def _bytes_of_value(value: Any) -> int:
    if isinstance(value, Array):
        return value.data_bytes if isinstance(value, TensorArray) else _bytes_of_value(value.data)
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list):
        return sum(map(_bytes_of_value, value))
    return 1 if isinstance(value, bool) else 8


def round_of(message: Message) -> str:
    """Return ``", round N"``, or nothing for a message that is of no round: for logs."""
    number = config_records(message.content).get(CONFIG, ConfigRecord()).get(ROUND)
    return f", round {number}" if isinstance(number, int) else ""
