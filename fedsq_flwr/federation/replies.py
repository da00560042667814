"""Copies of replies for strategies, which may do with them what they like: FedMedian empties what it is given."""

import copy
from collections.abc import Iterable

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict


def copy_reply(
    reply: Message, *, arrays: Iterable[str] | None = None, weight: tuple[str, int] | None = None
) -> Message:
    """Return a reply like ``reply`` whose records are its own; the arrays are shared.

    Parameters
    ----------
    reply : Message
        Has content, in it one record of arrays and one of metrics.
    arrays : iterable of str, optional
        Names of the arrays that it holds, in this order; by default all.
    weight : (str, int), optional
        A metric and the value that it is given.
    """
    records: dict[str, ArrayRecord | MetricRecord] = {}
    for name, record in reply.content.array_records.items():
        records[name] = ArrayRecord({key: record[key] for key in (record if arrays is None else arrays)})
    for name, metrics in reply.content.metric_records.items():
        records[name] = MetricRecord({**metrics, **({weight[0]: weight[1]} if weight else {})})
    copied = copy.copy(reply)
    copied.content = RecordDict({**reply.content, **records})
    return copied
