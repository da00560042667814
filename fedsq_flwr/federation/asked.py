"""Which message a reply answers."""

from collections.abc import Iterable

from flwr.app import Message


class Asked:
    """The messages of one exchange, once they have been sent.

    Parameters
    ----------
    messages : iterable of Message
        In the order in which `place` counts them. A grid gives each of them an id, in place, when it sends them.

    Notes
    -----
    A reply names the message that it answers. The node that it comes from says less: Flower's own error reply for a
    node that went away comes from the server's node. Only if no message has an id, because someone outside has sent
    copies of them, is a reply matched by its node.
    """

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.messages = list(messages)
        identified = {m.metadata.message_id: place for place, m in enumerate(self.messages) if m.metadata.message_id}
        self._by_id = identified or None
        self._by_node = {m.metadata.dst_node_id: place for place, m in enumerate(self.messages)}

    def place(self, reply: Message) -> int | None:
        """Return the place of the message that ``reply`` answers, or None if it answers none of these."""
        if self._by_id is not None:
            return self._by_id.get(reply.metadata.reply_to_message_id)
        return self._by_node.get(reply.metadata.src_node_id)

    def node(self, reply: Message) -> int | None:
        """Return the node that was sent the message that ``reply`` answers, or None if it answers none of these."""
        place = self.place(reply)
        return None if place is None else self.messages[place].metadata.dst_node_id
