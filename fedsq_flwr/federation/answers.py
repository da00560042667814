"""The silo's answers to the server's messages.

A silo's ``@app.train()``, ``@app.evaluate()`` and ``@app.query()`` call `answer_train`, `answer_evaluate` and
`answer_query`; its ``@app.query("statistics")`` calls `answer_statistics`.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.common import NDArrays, Scalar
from torch import Tensor

from fedsq_flwr.federation.arrays import is_shared, to_arrays, to_shared_arrays, to_state
from fedsq_flwr.federation.client import FedSQClient
from fedsq_flwr.federation.contents import array_records, config_records
from fedsq_flwr.federation.packing import check_packed, dtype_of, is_packed, pack, unpack
from fedsq_flwr.federation.protocol import (
    ARRAYS,
    CONFIG,
    EVALUATE_EXAMPLES,
    FINGERPRINT,
    LOSS,
    METRICS,
    NAME,
    NUM_PARTITIONS,
    PARTITION_ID,
    ROUND,
    STATISTICS,
    STRUCTURE,
    TRAIN_EXAMPLES,
    WEIGHT,
)
from fedsq_flwr.federation.statistics import sums_of
from fedsq_flwr.federation.structures import ContextStructures, Structures


def answer_query(
    message: Message,
    context: Context,
    structures: Structures | None = None,
    examples: tuple[int, int] | None = None,
    expected: Callable[[], Mapping[str, Tensor]] | None = None,
) -> Message:
    """Answer which silo this node is: its ``partition-id`` and ``num-partitions``, and its ``name`` if it has one.

    ``examples``, the numbers of training and of held-out samples, are named too, where they are known. The server
    then uses no reply that is of another number.

    Node ids are random in every run. Sampling and summing are ordered by partition ids. A structure that the message
    brings is kept in ``structures`` (by default in the context), and its fingerprint said back. A fingerprint without
    a structure is said back if that structure is kept. ``expected`` returns a structure of this silo's network: one
    of other names, shapes or size is not kept.

    Raises
    ------
    ValueError
        If the structure is not like ``expected``.
    WeightsError
        If the structure cannot be stored.
    """
    answer: dict[str, int | str] = {key: int(context.node_config[key]) for key in (PARTITION_ID, NUM_PARTITIONS)}
    if NAME in context.node_config:
        answer[NAME] = str(context.node_config[NAME])
    if examples is not None:
        answer[TRAIN_EXAMPLES], answer[EVALUATE_EXAMPLES] = examples
    named = config_records(message.content).get(CONFIG, ConfigRecord()).get(FINGERPRINT)
    if named is not None:
        kept = structures or ContextStructures(context)
        if STRUCTURE in array_records(message.content):
            record = array_records(message.content)[STRUCTURE]
            if expected is not None:
                check_packed(record, expected())
            kept.keep(str(named), unpack(record) if is_packed(record) else to_state(record))
        if kept.load(str(named)) is not None:
            answer[FINGERPRINT] = str(named)
    return Message(RecordDict({CONFIG: ConfigRecord(answer)}), reply_to=message)  # type: ignore[arg-type]


def answer_train(client: FedSQClient, message: Message) -> Message:
    """Let ``client`` train on the arrays of ``message`` and answer with its own, by the same names.

    Raises
    ------
    ValueError
        If the arrays are not what this silo's quantitative copy consists of.
    """
    record, config = _unpack(message)
    start = _state(client, record)
    parameters, examples, metrics = client.fit([tensor.numpy() for tensor in start.values()], _scalars(config))
    return _reply(message, config, examples, metrics, {ARRAYS: _in_kind(record, start, parameters)})


def answer_evaluate(client: FedSQClient, message: Message) -> Message:
    """Let ``client`` evaluate the arrays of ``message`` on its held-out samples and answer with the metrics.

    Raises
    ------
    ValueError
        If the arrays are not what this silo's quantitative copy consists of.
    """
    record, config = _unpack(message)
    parameters = [tensor.numpy() for tensor in _state(client, record).values()]
    loss, examples, metrics = client.evaluate(parameters, _scalars(config))
    return _reply(message, config, examples, {LOSS: loss, **metrics}, {})


def answer_statistics(client: FedSQClient, message: Message) -> Message:
    """Let ``client`` sum up, over its training samples, what enters each batch norm of the network of ``message``.

    The answer has the number of samples and, by `sums_of`, two lists of float64 for each batch norm. The server knows
    how many values each sample gives to each of them. No value of a single sample is said.

    Raises
    ------
    ValueError
        If the arrays are not what this silo's quantitative copy consists of, or there are too few samples.
    """
    moments = client.core.moments(_state(client, _unpack(message)[0]))
    sums = {key: values for name, each in moments.items() for key, values in sums_of(name, each).items()}
    told = MetricRecord({WEIGHT: len(client.core.samples[1]), **sums})
    return Message(RecordDict({STATISTICS: told}), reply_to=message)


def _unpack(message: Message) -> tuple[ArrayRecord, ConfigRecord]:
    return cast(ArrayRecord, message.content[ARRAYS]), cast(ConfigRecord, message.content[CONFIG])


def _state(client: FedSQClient, record: ArrayRecord) -> dict[str, Tensor]:
    """Return the state that was sent, in the client's order, once its names are known to be the client's."""
    state = unpack(record) if is_packed(record) else to_state(record)
    if is_packed(record) and state.keys() == set(client.names):  # a packed state has an order of its own
        state = {name: state[name] for name in client.names}
    client.check_names(list(state))
    return state


def _in_kind(record: ArrayRecord, start: Mapping[str, Tensor], parameters: NDArrays) -> ArrayRecord:
    """Return what was trained in the form that ``record`` came in; rounded, it is the step from ``start``."""
    ordered = (np.asarray(array, order="C") for array in parameters)
    trained = {name: torch.from_numpy(array) for name, array in zip(start, ordered, strict=True)}
    if is_shared(record):
        return to_shared_arrays(trained)
    if not is_packed(record):
        return to_arrays(trained)
    if dtype_of(record) == "float32":
        return pack(trained)
    steps = {n: t - start[n] if t.is_floating_point() else t for n, t in trained.items()}
    return pack(steps, dtype_of(record))


def _scalars(config: ConfigRecord) -> dict[str, Scalar]:
    return {key: value for key, value in config.items() if not isinstance(value, list)}


def _reply(
    message: Message,
    config: ConfigRecord,
    examples: int,
    metrics: Mapping[str, Any],
    records: dict[str, ArrayRecord],
) -> Message:
    # Round and fingerprint are said back, so that a late or foreign reply can be told from a good one.
    echo = ConfigRecord({key: config[key] for key in (ROUND, FINGERPRINT) if key in config})
    measured = MetricRecord({WEIGHT: examples, **{name: _number(value) for name, value in metrics.items()}})
    return Message(RecordDict({**records, METRICS: measured, CONFIG: echo}), reply_to=message)


def _number(value: Any) -> Any:
    """Return a metric as Flower takes it: a floating-point number, or a list as it is."""
    return value if isinstance(value, list) else float(value)
