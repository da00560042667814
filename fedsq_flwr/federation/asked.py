"""Which message a reply answers."""

from collections.abc import Iterable

from flwr.app import Message


class Asked:
    """The messages of one exchange.

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
        self._by_node = {m.metadata.dst_node_id: place for place, m in enumerate(self.messages)}
        self._by_id: dict[str, int] = {}

    def place(self, reply: Message) -> int | None:
        """Return the place of the message that ``reply`` answers, or None if it answers none of these."""
        answered = reply.metadata.reply_to_message_id
        if answered not in self._by_id and len(self._by_id) < len(self.messages):  # some were not sent before
            identified = {m.metadata.message_id: place for place, m in enumerate(self.messages)}
            self._by_id = {message_id: place for message_id, place in identified.items() if message_id}
        return self._by_id.get(answered) if self._by_id else self._by_node.get(reply.metadata.src_node_id)

    def node(self, reply: Message) -> int | None:
        """Return the node that was sent the message that ``reply`` answers, or None if it answers none of these."""
        place = self.place(reply)
        return None if place is None else self.messages[place].metadata.dst_node_id
