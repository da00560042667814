"""Grids that do to messages and replies what networks and other people's programs do to them."""

from collections.abc import Callable, Iterable

from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode

from fedsq_flwr.executors.grid import FIRST_SILO_NODE_ID, SERVER_NODE_ID
from fedsq_flwr.federation.grid_view import GridView

Exchange = list[tuple[Message, Message]]


def of_node_gone(message: Message) -> Message:
    """The error reply of Flower's SuperLink for a node that went away: it comes from the server's own node."""
    reply = Message(Error(ErrorCode.NODE_UNAVAILABLE, "Error: Node Unavailable"), reply_to=message)
    reply.metadata.__dict__["_src_node_id"] = SERVER_NODE_ID
    return reply


class Meddling(GridView):
    """A grid whose replies to ``kind`` are what ``meddle`` makes of the messages and their replies."""

    def __init__(self, grid, meddle: Callable[[Exchange], Iterable[Message]], kind: str = "train") -> None:
        super().__init__(grid)
        self._meddle, self._kind = meddle, kind

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        replies = list(self._grid.send_and_receive(messages, timeout=timeout))
        if not messages or messages[0].metadata.message_type != self._kind:
            return replies
        return list(self._meddle(list(zip(messages, replies, strict=True))))


def losing(grid, silo: int, *, told: bool, kind: str = "train") -> Meddling:
    """A grid on which the node of ``silo`` goes away after it has been asked; ``told``: the SuperLink says so."""

    def meddle(exchange: Exchange) -> list[Message]:
        kept = [(message, reply) for message, reply in exchange if silo_of(message) != silo or told]
        return [of_node_gone(message) if silo_of(message) == silo else reply for message, reply in kept]

    return Meddling(grid, meddle, kind)


class Copying(GridView):
    """A grid that sends copies of messages, so that those of the strategy never get an id."""

    def send_and_receive(self, messages, *, timeout=None):
        copies = [
            Message(RecordDict(dict(m.content)), m.metadata.dst_node_id, m.metadata.message_type) for m in messages
        ]
        return self._grid.send_and_receive(copies, timeout=timeout)


class Shuffled(GridView):
    """A grid whose nodes come in another order than their partition ids."""

    def get_node_ids(self):
        return sorted(self._grid.get_node_ids(), key=lambda node: (node * 7) % 5)


def silo_of(message: Message) -> int:
    """The silo that a message to a node of the in-process grid goes to."""
    return message.metadata.dst_node_id - FIRST_SILO_NODE_ID
