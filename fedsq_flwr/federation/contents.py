"""The records of a message by their kind.

Flower's own views (`RecordDict.array_records` and the like) tie a message into a cycle of references. Its arrays then
stay in memory until Python's collector comes, which does not know that they are large.
"""

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict


def array_records(content: RecordDict) -> dict[str, ArrayRecord]:
    """Return the array records of ``content`` by name."""
    return {name: record for name, record in content.items() if isinstance(record, ArrayRecord)}


def metric_records(content: RecordDict) -> dict[str, MetricRecord]:
    """Return the metric records of ``content`` by name."""
    return {name: record for name, record in content.items() if isinstance(record, MetricRecord)}


def config_records(content: RecordDict) -> dict[str, ConfigRecord]:
    """Return the config records of ``content`` by name."""
    return {name: record for name, record in content.items() if isinstance(record, ConfigRecord)}
