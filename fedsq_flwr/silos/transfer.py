"""Messages over a silo's connection, and the objects that Flower makes of them: fetched and sent one by one."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from flwr.app import Message

from fedsq_flwr.flower_http import FleetHttpClient
from fedsq_flwr.flower_internals import (
    OBJECT_WAIT,
    ConfirmMessageReceivedRequest,
    Node,
    ObjectPullError,
    ObjectPushError,
    fleet,
    get_all_nested_objects,
    get_object_tree,
    give_message_id,
    inflate_object_from_contents,
    iterate_object_tree,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
    message_from_proto,
    message_to_proto,
    no_object_id_recompute,
    pull_objects,
    push_objects,
    remove_content_from_message,
)

Request = TypeVar("Request")
Answer = TypeVar("Answer")
_SMALL = 2**16  # bytes; an object above it holds arrays


class RunOverError(Exception):
    """The run that a message is of has ended."""


class TooLargeError(Exception):
    """A message has more bytes than the silo takes; ``message`` is its head, which can be replied to."""

    def __init__(self, message: Message, most: int) -> None:
        super().__init__(f"a message has more than {most:,} bytes, which are the most for this silo's network")
        self.message = message


class Call(Protocol):
    """Calls a method of the client, again and again where that may help."""

    def __call__(self, method: Callable[[Request], Answer], request: Request) -> Answer:
        """Return what ``method`` answers to ``request``."""
        ...


class Transfer:
    """Receives and sends messages.

    Parameters
    ----------
    client : FleetHttpClient
        Speaks to the SuperLink.
    node : Node
        What the SuperLink calls this silo.
    call : Call
        Makes each request.
    """

    def __init__(self, client: FleetHttpClient, node: Node, call: Call) -> None:
        self._client = client
        self._node = node
        self._call = call
        self._last: dict[str, bytes] = {}  # the objects of the last message that held arrays

    def receive(self, most: Callable[[int], int]) -> Message | None:
        """Return the next message, or None if there is none now; see `Link.receive`.

        ``most`` returns how many bytes a message of a run may have.
        """
        answer = self._call(self._client.PullMessages, fleet.PullMessagesRequest(node=self._node))
        if not answer.messages_list:
            return None
        head = message_from_proto(answer.messages_list[0])
        run_id, tree = head.metadata.run_id, answer.message_object_trees[0]
        allowed = most(run_id)
        try:
            contents = self._fetch(run_id, [node.object_id for node in iterate_object_tree(tree)], allowed)
        except _FullError as error:
            raise TooLargeError(head, allowed) from error
        confirmation = ConfirmMessageReceivedRequest(node=self._node, run_id=run_id, message_object_id=tree.object_id)
        self._call(self._client.ConfirmMessageReceived, confirmation)
        message = inflate_object_from_contents(tree.object_id, contents)
        if not isinstance(message, Message):
            raise TypeError(f"expected a Message, got {type(message)}")
        give_message_id(message, tree.object_id)
        return message

    def send(self, reply: Message, seconds: float) -> bool:
        """Send ``reply``, which took ``seconds`` to make; see `Link.send`."""
        with no_object_id_recompute():
            give_message_id(reply, reply.object_id)
            head = fleet.PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[seconds],
            )
            answer = self._call(self._client.PushMessages, head)
            push = make_push_object_fn_protobuf(
                lambda request: self._call(self._client.PushObject, request),
                self._node,
                reply.metadata.run_id,
                answer.session_id,
            )
            try:
                push_objects(get_all_nested_objects(reply), push, object_ids_to_push=set(answer.objects_to_push))
            except ObjectPushError as error:
                raise RunOverError from error
        return bool(answer.objects_to_push)  # a reply is an object that is new there

    def _fetch(self, run_id: int, object_ids: Sequence[str], most: int) -> dict[str, bytes]:
        """Return the objects of a message, fetching what the last one did not have already, in the order of uploads.

        The model that silos evaluate is mostly the one that they train from next. Objects are named by the
        sha256 of their content, so that the same name is the same content.
        """
        pull = make_pull_object_fn_protobuf(
            lambda request: self._call(self._client.PullObject, request), self._node, run_id
        )
        left = most  # the two threads that fetch may each take one object too many

        def fetch(object_id: str) -> bytes:
            nonlocal left
            content = pull(object_id)
            left -= len(content)
            if left < 0:
                raise _FullError
            return content

        known = {name: self._last[name] for name in object_ids if name in self._last}
        wanted = [name for name in dict.fromkeys(object_ids) if name not in known]
        try:
            contents = known | pull_objects(wanted, fetch, initial_backoff=OBJECT_WAIT)
        except ObjectPullError as error:
            raise RunOverError from error
        if any(len(content) > _SMALL for content in contents.values()):
            self._last = dict(contents)
        return contents


class _FullError(Exception):
    """No more bytes are taken."""
