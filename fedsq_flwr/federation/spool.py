"""Arrays that wait on disk: those of replies that come early, and those of models that memory has no room for.

Each record is written to a temporary file without a name (in ``TMPDIR``), which is gone when the record is, or when
the process ends, whatever ends it. Nothing is pickled.
"""

import copy
import tempfile
from collections.abc import Hashable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Message, RecordDict

from fedsq_flwr.federation.arrays import TensorArray, record_of
from fedsq_flwr.federation.contents import array_records
from fedsq_flwr.files import writing

Place = TypeVar("Place", bound=Hashable)
#: Replies that wait for their turn in memory; more of them wait on disk.
EARLY_IN_MEMORY = 8
#: Bytes of models that are kept in memory; more of them are kept on disk.
MODELS_IN_MEMORY = 2**30
_ALIGNED = 64  # bytes; torch wants tensors to begin at multiples of their items


class SpooledRecord:
    """The arrays of a record, in a file.

    Parameters
    ----------
    arrays : ArrayRecord
        Shared or plain arrays. Whatever else a silo may have put into the record stays in memory.

    Raises
    ------
    RunFailedError
        If the disk is full.
    """

    def __init__(self, arrays: ArrayRecord) -> None:
        self._arrays: dict[str, tuple[Array, slice | None]] = {}  # without their values, which are at these places
        with writing(Path(tempfile.gettempdir())), tempfile.TemporaryFile(prefix="fedsq-") as file:
            for name, array in arrays.items():
                content = _content(array)
                if content is None:
                    self._arrays[name] = array, None
                    continue
                file.write(bytes(-file.tell() % _ALIGNED))
                place = slice(file.tell(), file.tell() + len(content))
                file.write(content)
                self._arrays[name] = _without_values(array), place
            file.flush()
            # Pages are read when they are needed, and belong to the file, not to the process.
            self._values = np.memmap(file, np.uint8, "c") if file.tell() else np.empty(0, np.uint8)

    def load(self) -> ArrayRecord:
        """Return the arrays; shared ones refer to the file's pages, which nobody may write to."""
        return record_of({name: self._loaded(*stored) for name, stored in self._arrays.items()})

    def _loaded(self, array: Array, place: slice | None) -> Array:
        if place is None:
            return array
        values, loaded = np.asarray(self._values[place]), copy.copy(array)
        if isinstance(loaded, TensorArray):
            loaded.tensor = torch.from_numpy(values).view(loaded.tensor.dtype).reshape(loaded.shape)
        else:
            loaded.data = values.tobytes()
        return loaded


class EarlyReplies(Generic[Place]):
    """Replies by the places that they wait for: `EARLY_IN_MEMORY` in memory, the others on disk."""

    def __init__(self) -> None:
        self._replies: dict[Place, Message] = {}
        self._stored: dict[Place, dict[str, SpooledRecord]] = {}

    def __contains__(self, place: Place) -> bool:
        return place in self._replies

    def put(self, place: Place, reply: Message) -> None:
        """Keep ``reply`` until `pop`; `SpooledRecord` says what may go wrong."""
        if len(self._replies) - len(self._stored) >= EARLY_IN_MEMORY and reply.has_content():
            records = array_records(reply.content)
            self._stored[place] = {name: SpooledRecord(record) for name, record in records.items()}
            reply = copy.copy(reply)
            reply.content = RecordDict({**reply.content, **{name: ArrayRecord() for name in records}})
        self._replies[place] = reply

    def pop(self, place: Place) -> Message:
        """Return the reply at ``place``, whole, and forget it."""
        reply = self._replies.pop(place)
        for name, record in self._stored.pop(place, {}).items():
            reply.content[name] = record.load()
        return reply

    def places(self) -> list[Place]:
        """Return the places of the replies that wait, in order."""
        return sorted(self._replies)  # type: ignore[type-var]


class Models(MutableMapping[int, ArrayRecord]):
    """Models by number: as many as `MODELS_IN_MEMORY` has room for in memory, the others on disk."""

    def __init__(self) -> None:
        self._models: dict[int, ArrayRecord | SpooledRecord] = {}
        self._bytes = 0  # of those in memory

    def __getitem__(self, number: int) -> ArrayRecord:
        model = self._models[number]
        return model.load() if isinstance(model, SpooledRecord) else model

    def __setitem__(self, number: int, model: ArrayRecord) -> None:
        if number in self:
            del self[number]
        fits = self._bytes + _size_of(model) <= MODELS_IN_MEMORY
        self._models[number] = model if fits else SpooledRecord(model)
        self._bytes += _size_of(model) if fits else 0

    def __delitem__(self, number: int) -> None:
        model = self._models.pop(number)
        self._bytes -= _size_of(model) if isinstance(model, ArrayRecord) else 0

    def __iter__(self) -> Iterator[int]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)


def _content(array: Any) -> memoryview | bytes | None:
    """Return the values of an array as bytes; None if it is something else."""
    if isinstance(array, TensorArray):
        return array.tensor.reshape(-1).view(torch.uint8).numpy().data
    return array.data if type(array) is Array and type(array.data) is bytes else None


def _without_values(array: Array) -> Array:
    """Return a copy without values, and unchecked: a silo may have said anything of them."""
    copied = copy.copy(array)
    if isinstance(copied, TensorArray):
        copied.tensor = copied.tensor.new_empty(0)
    else:
        copied.data = b""
    return copied


def _size_of(model: ArrayRecord) -> int:
    return sum(array.data_bytes if isinstance(array, TensorArray) else len(array.data) for array in model.values())
