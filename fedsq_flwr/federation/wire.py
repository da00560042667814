"""The server's end of the wire, which every message to and from the silos passes through.

The wire counts bytes, packs what crosses a network, hands the model to Ray once a round, polls for replies more often
than Flower does, and returns only replies to messages that were sent.
"""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from fedsq_flwr.data import FederatedData
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.arrays import to_shared_arrays, to_state
from fedsq_flwr.federation.asked import Asked
from fedsq_flwr.federation.collecting import Collector
from fedsq_flwr.federation.contents import array_records
from fedsq_flwr.federation.faults import in_one_line
from fedsq_flwr.federation.grid_view import GridView
from fedsq_flwr.federation.object_store import ObjectStoreRecord, SilosDataRecord, store_data
from fedsq_flwr.federation.packing import PACKED, dtype_of, is_packed, pack, packed_size, unpack
from fedsq_flwr.federation.protocol import ARRAYS, DATA, count_bytes
from fedsq_flwr.federation.waiting import Patience, waits
from fedsq_flwr.flower_internals import ErrorCode, give_message_id, is_simulated

log = logging.getLogger(__name__)


class Wire(GridView):
    """A grid whose messages are packed, counted and checked.

    Parameters
    ----------
    grid : Grid
        Carries the messages.
    dtype : {"float32", "float16", "bfloat16"}, optional
        Pack the arrays of each message into one, rounded to this dtype; a silo answers in kind. By default messages
        travel as they are.
    poll : float, optional
        The most seconds between two polls for replies, for a grid that processes lie behind. By default the grid
        polls by itself: Flower's does so every 3 seconds, and returns the replies when the last one is there.
    patience : Patience, optional
        Over a network: how long the last replies are waited for.

    Attributes
    ----------
    collector : Collector or None
        Collects the replies over a network.
    bytes_down, bytes_up : int
        What the records of all messages and of all replies held, as they travelled.

    Notes
    -----
    A silo's rounded weights travel as their difference from the weights that it was sent. The wire adds the
    difference to the unrounded weights. The rounding error of a reply is thus relative to what was learnt, and the
    global model itself is never rounded (our choice). In float32 the weights themselves travel: no bit changes.
    """

    def __init__(
        self, grid: Grid, *, dtype: str | None = None, poll: float | None = None, patience: Patience | None = None
    ) -> None:
        super().__init__(grid)
        self._dtype = dtype
        self._poll = poll
        self._simulated = not is_within_process(grid) and is_simulated(grid)
        self.collector = None if poll is None or patience is None else Collector(grid, poll, patience)
        self.bytes_down = 0
        self.bytes_up = 0
        self._beside: dict[str, SilosDataRecord] = {}  # in every message

    @property
    def takes_shared_arrays(self) -> bool:
        """Whether messages may hold shared arrays: they are packed here, or reach the silos without a network."""
        return self._dtype is not None or is_within_process(self._grid) or self._simulated

    def share_data(self, data: FederatedData) -> None:
        """Have the silos of a simulation take their parts of ``data``, which they would load otherwise."""
        if self._simulated:
            self._beside = {DATA: store_data(data)}

    def take_waited(self) -> dict[int, float]:
        """Return the seconds that nodes were waited for since the last call; see `Collector.waited`."""
        if self.collector is None:
            return {}
        waited, self.collector.waited = self.collector.waited, {}
        return waited

    def close(self) -> None:
        """Look for no more replies."""
        if self.collector is not None:
            self.collector.stop()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send ``messages`` and return an iterator over the replies that come in time, one at most to each message.

        A reply that cannot be used becomes an error reply of the node that was asked. A reply that has been taken
        from the iterator is not kept here.

        Raises
        ------
        RunFailedError
            If a value of the model is too large for the wire's dtype.
        """
        messages = list(messages)
        sent = self._as_they_travel(messages)
        replies = self._exchange(sent, timeout)
        unsent = set() if self.collector is None else self.collector.unsent
        self.bytes_down += count_bytes(message for message in sent if message.metadata.message_id not in unsent)
        for message, own in zip(sent, messages, strict=True):  # replies name the message that travelled
            give_message_id(own, message.metadata.message_id)
        return self._checked(replies, sent, messages)

    def _checked(
        self, replies: Iterable[Message], sent: list[Message], originals: list[Message]
    ) -> Iterator[Message]:
        asked, answered = Asked(sent), set[int]()
        for reply in replies:
            self.bytes_up += count_bytes([reply])
            place = asked.place(reply)
            if place is None or place in answered:
                log.warning("node %d answered what it was not asked, or twice", reply.metadata.src_node_id)
                continue
            answered.add(place)
            yield self._check(reply, sent[place], originals[place])

    def _exchange(self, messages: list[Message], timeout: float | None) -> Iterable[Message]:
        """Send ``messages``, all of them before this returns; return the replies as they come."""
        if self.collector is not None:
            return self.collector.exchange(messages, timeout)
        if self._poll is None:
            return self._grid.send_and_receive(messages, timeout=timeout)
        ids = set(filter(None, self._grid.push_messages(messages)))  # none for a message that is not taken
        return self._pull(ids, self._poll, math.inf if timeout is None else time.monotonic() + timeout)

    def _pull(self, waiting: set[str], poll: float, end: float) -> Iterator[Message]:
        seconds = waits(poll)
        while waiting:
            replies = list(self._grid.pull_messages(waiting))
            waiting -= {reply.metadata.reply_to_message_id for reply in replies}
            yield from replies
            if time.monotonic() > end:
                return
            if replies:  # the next one often follows soon
                seconds = waits(poll)
            elif waiting:
                time.sleep(next(seconds))

    def _as_they_travel(self, messages: list[Message]) -> list[Message]:
        if self._dtype is None and not self._simulated:
            return messages
        records: dict[int, ArrayRecord] = {}  # each once: a strategy sends the same one to every silo

        def of(name: str, record: ArrayRecord) -> ArrayRecord:
            if id(record) not in records:
                packed = record if self._dtype is None else _packed(name, record, self._dtype)
                records[id(record)] = ObjectStoreRecord(packed) if self._simulated else packed
            return records[id(record)]

        return [
            _with_records(m, {**{n: of(n, r) for n, r in array_records(m.content).items()}, **self._beside})
            for m in messages
        ]

    def _check(self, reply: Message, sent: Message, original: Message) -> Message:
        """Return ``reply`` unpacked, or the error reply that it is or becomes."""
        if reply.has_error():  # Flower's own errors do not always say whom they are of
            return Message(reply.error, reply_to=sent)
        try:
            if reply.metadata.src_node_id != sent.metadata.dst_node_id:
                raise ValueError(f"was answered for by node {reply.metadata.src_node_id}")
            records = array_records(reply.content)
            if self._dtype is None or not records:
                return reply
            start = to_state(array_records(original.content)[ARRAYS])
            arrays = {n: to_shared_arrays(_unpacked(record, start, self._dtype)) for n, record in records.items()}
        except ValueError as error:
            return Message(Error(ErrorCode.UNKNOWN, in_one_line(str(error))), reply_to=sent)
        except Exception as error:  # noqa: BLE001 - whatever a reply is made of, it costs that reply only, by name
            told = in_one_line(f"cannot be read ({type(error).__name__}: {error})")
            return Message(Error(ErrorCode.UNKNOWN, told), reply_to=sent)
        reply.content.update(arrays)
        return reply


def is_within_process(grid: Grid) -> bool:
    """Tell whether a grid hands messages over within this process, as they are."""
    return bool(getattr(grid, "within_process", False))


def _with_records(message: Message, records: Mapping[str, ArrayRecord | ConfigRecord]) -> Message:
    """Return a message like ``message`` with other records, too; the records of others may be shared."""
    metadata = message.metadata
    return Message(
        RecordDict({**message.content, **records}),
        metadata.dst_node_id,
        metadata.message_type,
        ttl=metadata.ttl,
        group_id=metadata.group_id,
    )


def _packed(name: str, record: ArrayRecord, dtype: str) -> ArrayRecord:
    try:
        return pack(to_state(record), dtype if name == ARRAYS else "float32")
    except ValueError as error:
        raise RunFailedError(f"wire_dtype={dtype}: {error}") from error


def _unpacked(record: ArrayRecord, start: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """Return the state that a packed reply stands for, given what the silo was sent in ``dtype``."""
    if not is_packed(record) or dtype_of(record) != dtype:
        raise ValueError("does not answer in the form that it was asked in")
    size, most = len(record[PACKED].data), packed_size(start, dtype)
    if size > most:
        raise ValueError(f"sends {size:,} bytes of arrays where {most:,} are the most that is expected")
    state = unpack(record, dtype)
    return state if dtype == "float32" else {name: _moved(start.get(name), step) for name, step in state.items()}


def _moved(start: Tensor | None, step: Tensor) -> Tensor:
    if start is None or start.shape != step.shape or not (start.is_floating_point() and step.is_floating_point()):
        return step  # what is wrong with it is told by the screening
    return start + step
