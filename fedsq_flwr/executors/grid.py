"""A grid within one process: the same apps and strategy, without Ray."""

import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Self

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fedsq_flwr.federation.protocol import NUM_PARTITIONS, PARTITION_ID
from fedsq_flwr.flower_internals import ErrorCode, give_message_id, send_messages_as

RUN_ID = 1
SERVER_NODE_ID = 1
FIRST_SILO_NODE_ID = 1000


class InProcessGrid(Grid):
    """Carries messages to a client app by calling it.

    Parameters
    ----------
    client_app : ClientApp
        Called once for each message.
    silos : int
        Number of nodes.
    workers : int
        Messages handled side by side, in threads.
    """

    #: Messages are handed over as they are, with the tensors that shared arrays refer to.
    within_process = True

    def __init__(self, client_app: ClientApp, *, silos: int, workers: int = 1) -> None:
        send_messages_as(RUN_ID, SERVER_NODE_ID)
        self._client_app = client_app
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="silo")
        self._ahead = workers + 1
        self._contexts = {
            FIRST_SILO_NODE_ID + silo: Context(
                run_id=RUN_ID,
                node_id=FIRST_SILO_NODE_ID + silo,
                node_config={PARTITION_ID: silo, NUM_PARTITIONS: silos},
                state=RecordDict(),
                run_config={},
            )
            for silo in range(silos)
        }

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes' ids."""
        return list(self._contexts)

    def send_and_receive(
        self,
        messages: Iterable[Message],
        *,
        timeout: float | None = None,  # noqa: ARG002 - part of the protocol
    ) -> Iterable[Message]:
        """Hand each message to the client app and return an iterator over the replies, in the order of the messages.

        No more messages are handled ahead of the reply that is taken next than there are workers. ``timeout`` has no
        effect here. As in Flower's runtimes, an exception in the client app becomes an error reply.
        """
        messages = list(messages)
        for message in messages:
            give_message_id(message, uuid.uuid4().hex)
        return self._replies(messages)

    def _replies(self, messages: Iterable[Message]) -> Iterator[Message]:
        waiting, going = iter(messages), deque[Future[Message]]()
        going.extend(self._pool.submit(self._handle, message) for message in islice(waiting, self._ahead))
        while going:
            reply = going.popleft().result()
            going.extend(self._pool.submit(self._handle, message) for message in islice(waiting, 1))
            yield reply

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def _handle(self, message: Message) -> Message:
        try:
            reply = self._client_app(message, self._contexts[message.metadata.dst_node_id])
        except Exception as error:  # noqa: BLE001 - what a runtime does with a client that fails
            reply = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error)), reply_to=message)
        give_message_id(reply, uuid.uuid4().hex)
        return reply

    def set_run(self, run: Any) -> None:
        """There is one run, and it is set."""
        raise NotImplementedError("the in-process grid has no runs to choose from")

    @property
    def run(self) -> Any:
        """There is no SuperLink that could describe the run."""
        raise NotImplementedError("the in-process grid has no run record")

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Superseded by Flower's `Message` constructor."""
        raise NotImplementedError("use flwr.app.Message")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Superseded by `send_and_receive`."""
        raise NotImplementedError("use send_and_receive")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Superseded by `send_and_receive`."""
        raise NotImplementedError("use send_and_receive")
