"""Records that Ray's object store holds once, however many messages have them: the global model, and the silos' data.

Flower's simulation hands each message to Ray by itself, which would store the global model once for every silo, and
send it to a machine as often. The data of the silos would be loaded by each actor.
"""

import pickle
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from torch import Tensor

from fedsq_flwr.data import FederatedData, LabelledImages
from fedsq_flwr.federation.arrays import in_place, record_of


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


class SilosDataRecord(ConfigRecord):
    """The data of all silos, which `store_data` has laid into Ray's object store; pickled, a reference to them.

    As a record of Flower's it is empty, so that it counts no bytes.
    """

    def __init__(self, reference: Any) -> None:
        super().__init__()
        self._reference = reference

    def load(self) -> FederatedData:
        """Return the data; their tensors are in the store's memory, which nobody may write to."""
        import ray

        pickled, buffers = ray.get(self._reference)
        data: FederatedData = pickle.loads(pickled, buffers=buffers)  # noqa: S301 - the server's, as all that Ray brings
        return data

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the reference."""
        return SilosDataRecord, (self._reference,)


def store_data(data: FederatedData) -> SilosDataRecord:
    """Lay what silos need of ``data`` into Ray's object store, as long as the record, or what it loads, is there."""
    import ray

    none = LabelledImages.none()
    data = replace(data, validation=none, test=none, indices=[], partition={})
    file, buffers = BytesIO(), list[np.ndarray]()
    pickler = _Pickler(file, 5, buffer_callback=lambda buffer: buffers.append(np.asarray(buffer.raw(), np.uint8)))
    pickler.dump(data)
    return SilosDataRecord(ray.put((file.getvalue(), buffers)))


class _Pickler(pickle.Pickler):
    """Pickles tensors as NumPy's arrays, whose values stay outside of the pickle: Ray shares those."""

    def reducer_override(self, value: Any) -> Any:
        return (in_place, (value.numpy(),)) if isinstance(value, Tensor) else NotImplemented
