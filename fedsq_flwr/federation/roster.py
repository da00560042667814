"""Which node is which silo: ordered by partition id, since Flower's node ids are random in every run."""

import logging
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.messages import CONFIG, NUM_PARTITIONS, PARTITION_ID

log = logging.getLogger(__name__)


class Roster:
    """The silos that are connected, each asked once who it is.

    Parameters
    ----------
    timeout : float
        Seconds to wait for the answers, and for enough nodes to connect.
    """

    def __init__(self, timeout: float = 600.0) -> None:
        self.timeout = timeout
        self._partitions: dict[int, int] = {}  # node id -> partition id
        self.num_partitions: int | None = None

    def silo(self, node_id: int) -> int:
        """Return the partition id of a node that has been asked."""
        return self._partitions[node_id]

    def update(self, grid: Grid) -> list[int]:
        """Ask new nodes who they are; return the connected nodes that answered, by partition id.

        Raises
        ------
        RunFailedError
            If two nodes claim the same partition id, or no node says which it has.
        """
        connected = list(grid.get_node_ids())
        unknown = sorted(set(connected) - self._partitions.keys())
        reasons = []
        if unknown:
            asked = [Message(RecordDict(), node, MessageType.QUERY) for node in unknown]
            for reply in grid.send_and_receive(asked, timeout=self.timeout):
                if reply.has_error():
                    reasons.append(f"node {reply.metadata.src_node_id}: {reply.error.reason}")
                else:
                    self._enter(reply, connected)
        for reason in reasons:
            log.warning("a node did not say which silo it is and takes no part: %s", reason)
        if connected and not self._partitions:
            raise RunFailedError(
                "no node said which silo it is; the client app must answer queries "
                f"(fedsq_flwr.federation.messages.answer_query): {'; '.join(reasons) or 'no answer'}"
            )
        known = [node for node in connected if node in self._partitions]
        return sorted(known, key=self.silo)

    def wait_for(self, grid: Grid, silos: int | None = None) -> list[int]:
        """Wait until ``silos`` nodes are connected (default: as many as the nodes say there are).

        Raises
        ------
        RunFailedError
            If they do not connect in time.
        """
        deadline = time.monotonic() + self.timeout
        while True:
            nodes = self.update(grid)
            wanted = silos if silos is not None else self.num_partitions or 1
            if len(nodes) >= wanted:
                return nodes
            if time.monotonic() > deadline:
                raise RunFailedError(f"{len(nodes)} of {wanted} silos connected within {self.timeout:g} seconds")
            time.sleep(0.2)

    def _enter(self, reply: Message, connected: list[int]) -> None:
        identity = reply.content.config_records[CONFIG]
        node, silo = reply.metadata.src_node_id, int(identity[PARTITION_ID])  # type: ignore[arg-type]
        others = [n for n, s in self._partitions.items() if s == silo and n in connected]
        if others:
            raise RunFailedError(f"nodes {others[0]} and {node} both say that they are silo {silo}")
        self._partitions[node] = silo
        self.num_partitions = int(identity[NUM_PARTITIONS])  # type: ignore[arg-type]


class OrderedGrid(Grid):
    """A view of a grid whose nodes come in the order of their partition ids.

    An inner strategy samples from it as from any grid. If it goes on asking for more nodes than there
    are, the wait ends with an error instead of never.
    """

    def __init__(self, grid: Grid, roster: Roster) -> None:
        self._grid = grid
        self._roster = roster
        self._deadline = time.monotonic() + roster.timeout

    def get_node_ids(self) -> Iterable[int]:
        """Return the connected nodes, ordered by partition id."""
        nodes = self._roster.update(self._grid)
        if time.monotonic() > self._deadline:
            raise RunFailedError(
                f"{len(nodes)} silos are connected, fewer than the inner strategy's minimum, "
                f"after {self._roster.timeout:g} seconds"
            )
        return nodes

    def set_run(self, run: Any) -> None:
        """Pass on."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """Pass on."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Pass on."""
        return self._grid.create_message(*args, **kwargs)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Pass on."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pass on."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Pass on."""
        return self._grid.send_and_receive(messages, timeout=timeout)


@contextmanager
def seeded_sampling(seed: int) -> Iterator[None]:
    """Give the global `random`, which Flower's strategies sample from, our own seed within the block."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
