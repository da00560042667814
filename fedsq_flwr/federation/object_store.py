"""A record of arrays that Ray's object store holds once, however many messages of a round have it.

Flower's simulation hands each message to Ray by itself, which would store the global model once for every silo, and
send it to a machine as often.
"""

from typing import Any

from flwr.app import ArrayRecord

from fedsq_flwr.federation.arrays import record_of


class ObjectStoreRecord(ArrayRecord):
    """The arrays of ``record``, which are laid into Ray's object store; pickled, a reference to them.

    This process must be connected to Ray. The store keeps the arrays as long as this object, or a message that it was
    pickled with, is there.
    """

    def __init__(self, record: ArrayRecord) -> None:
        import ray  # in a simulation it is there already

        super().__init__()
        for name, array in record.items():
            self[name] = array
        # Not while it is pickled: Ray never frees what is stored in the midst of its own pickling.
        self._reference: Any = ray.put(dict(record))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the reference."""
        return _fetched, (self._reference,)


def _fetched(reference: Any) -> ArrayRecord:
    import ray

    return record_of(ray.get(reference))
