"""Copies of replies for strategies, which may do with them what they like: FedMedian empties what it is given."""

import copy
from collections.abc import Container, Iterable

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

from fedsq_flwr.federation.arrays import record_of
from fedsq_flwr.federation.contents import array_records, metric_records


def copy_reply(
    reply: Message,
    *,
    arrays: Iterable[str] | None = None,
    metrics: Container[str] | None = None,
    weight: tuple[str, int] | None = None,
) -> Message:
    """Return a reply like ``reply`` whose records are its own; the arrays are shared.

    Parameters
    ----------
    reply : Message
        Has content.
    arrays : iterable of str, optional
        Names of the arrays that the copy holds, as far as there are such, in this order; by default all.
    metrics : container of str, optional
        Names of the metrics that the copy holds; by default all.
    weight : (str, int), optional
        A metric and the value that it is given.
    """
    records: dict[str, ArrayRecord | MetricRecord] = {}
    for name, record in array_records(reply.content).items():
        names = record if arrays is None else [key for key in arrays if key in record]
        records[name] = record_of({key: record[key] for key in names})
    for name, measured in metric_records(reply.content).items():
        kept = {key: value for key, value in measured.items() if metrics is None or key in metrics}
        records[name] = MetricRecord(kept | ({weight[0]: weight[1]} if weight else {}))
    copied = copy.copy(reply)
    copied.content = RecordDict({**reply.content, **records})
    return copied
