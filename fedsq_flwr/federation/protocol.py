"""What travels between server and silos: the names of the records, and of what stands in them.

A message to ``train`` or ``evaluate`` holds two records: `ARRAYS`, which is the model, and `CONFIG`, which holds
`ROUND` and what else applies to the round. A reply holds `METRICS`, the `ROUND` and `FINGERPRINT` of its message in
`CONFIG`, and, after training, `ARRAYS`. A message to ``query`` asks a node which silo it is, and may bring a
`STRUCTURE`.
"""

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord

from fedsq_flwr.settings import silo

# Records.
ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
STRUCTURE = "structure"

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

# In a real silo's answer to a query: how many images it has to train with, which says how long it may take.
IMAGES = "num-images"

# Metrics of a reply.
WEIGHT = "num-examples"
TRAIN_LOSS = "train_loss"
TRAIN_SECONDS = "train_seconds"
LOSS = "loss"
ACCURACY = "accuracy"
UNREADABLE = "unreadable-files"


def count_bytes(messages: Iterable[Message]) -> int:
    """Return the bytes that the records of ``messages`` hold: values, and the names they go by.

    The settings of the run are left out. They are 2 to 3 kB of each message, and their length depends on paths, which
    must change no number of a run.
    """
    return sum(_bytes_of(record) for m in messages if m.has_content() for record in m.content.values())


def _bytes_of(record: ArrayRecord | ConfigRecord | MetricRecord) -> int:
    if isinstance(record, ConfigRecord) and SETTINGS in record:
        record = ConfigRecord({name: value for name, value in record.items() if name != SETTINGS})
    return record.count_bytes()


def round_of(message: Message) -> str:
    """Return ``", round N"``, or nothing for a message that is of no round: for logs."""
    number = message.content.config_records.get(CONFIG, ConfigRecord()).get(ROUND)
    return f", round {number}" if isinstance(number, int) else ""
