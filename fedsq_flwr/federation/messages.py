"""What is said between server and silos: the names in the records, and the silo's answers.

A silo's ``@app.train()``, ``@app.evaluate()`` and ``@app.query()`` call `answer_train`,
`answer_evaluate` and `answer_query`; `FedSQ` reads what they wrote.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.common import Scalar

from fedsq_flwr.federation.memory import keep_structure

if TYPE_CHECKING:
    from fedsq_flwr.federation.client import FedSQClient

ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
STRUCTURE = "structure"
ROUND = "server-round"
FINGERPRINT = "fingerprint"
OWN_RELUS = "own-relus"
HEAD_ONLY = "head-only"
WEIGHT = "num-examples"
PARTITION_ID = "partition-id"
NUM_PARTITIONS = "num-partitions"


def answer_query(message: Message, context: Context) -> Message:
    """Answer which silo this node is: its ``partition-id`` and ``num-partitions``.

    Node ids are random in every run; partition ids are what sampling and summing are ordered by. If the
    server sends a structure along, it is kept in the context, and its fingerprint said back.
    """
    answer: dict[str, int | str] = {key: int(context.node_config[key]) for key in (PARTITION_ID, NUM_PARTITIONS)}
    if STRUCTURE in message.content.array_records:
        answer[FINGERPRINT] = str(message.content.config_records[CONFIG][FINGERPRINT])
        keep_structure(context, str(answer[FINGERPRINT]), message.content.array_records[STRUCTURE])
    return Message(RecordDict({CONFIG: ConfigRecord(answer)}), reply_to=message)  # type: ignore[arg-type]


def answer_train(client: "FedSQClient", message: Message) -> Message:
    """Let ``client`` train on the arrays of ``message`` and answer with its own, by the same names.

    Raises
    ------
    ValueError
        If the arrays are not what this silo's quantitative copy consists of.
    """
    arrays, config = _unpack(message)
    client.check_names(list(arrays))
    parameters, examples, metrics = client.fit([a.numpy() for a in arrays.values()], _scalars(config))
    trained = ArrayRecord({name: Array(array) for name, array in zip(arrays, parameters, strict=True)})
    return _reply(message, config, examples, metrics, {ARRAYS: trained})


def answer_evaluate(client: "FedSQClient", message: Message) -> Message:
    """Let ``client`` evaluate the arrays of ``message`` on its held-out samples and answer with the metrics.

    Raises
    ------
    ValueError
        If the arrays are not what this silo's quantitative copy consists of.
    """
    arrays, config = _unpack(message)
    client.check_names(list(arrays))
    loss, examples, metrics = client.evaluate([a.numpy() for a in arrays.values()], _scalars(config))
    return _reply(message, config, examples, {"loss": loss, **metrics}, {})


def count_bytes(messages: Iterable[Message]) -> int:
    """Return the bytes that the records of ``messages`` hold: values, and the names they go by."""
    return sum(r.count_bytes() for m in messages if m.has_content() for r in m.content.values())


def _unpack(message: Message) -> tuple[ArrayRecord, ConfigRecord]:
    return cast(ArrayRecord, message.content[ARRAYS]), cast(ConfigRecord, message.content[CONFIG])


def _scalars(config: ConfigRecord) -> dict[str, Scalar]:
    return {key: value for key, value in config.items() if not isinstance(value, list)}


def _reply(
    message: Message,
    config: ConfigRecord,
    examples: int,
    metrics: Mapping[str, Scalar],
    records: dict[str, ArrayRecord],
) -> Message:
    # Round and fingerprint are said back, so that a late or foreign reply can be told from a good one.
    echo = ConfigRecord({key: config[key] for key in (ROUND, FINGERPRINT) if key in config})
    measured = MetricRecord({WEIGHT: examples, **{name: float(value) for name, value in metrics.items()}})
    return Message(RecordDict({**records, METRICS: measured, CONFIG: echo}), reply_to=message)
