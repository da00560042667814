"""Which node is which silo. Flower's node ids are random in every run, so silos are known by their partition ids."""

import logging
import time
from collections.abc import Iterable

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.asked import Asked
from fedsq_flwr.federation.protocol import CONFIG, NUM_PARTITIONS, PARTITION_ID
from fedsq_flwr.federation.waiting import waits

log = logging.getLogger(__name__)

#: Seconds that a node has to say who it is: one that hangs must not hold up every round for long.
ANSWER_SECONDS = 60.0
_LONGEST_WAIT = 1.0  # seconds between two polls; nodes that take no part are asked each time


class NoAnswerError(RunFailedError):
    """Nodes are connected, and none of them says which silo it is."""


class NodeRegistry:
    """The silos that are connected, each asked once who it is.

    Parameters
    ----------
    timeout : float
        Seconds to wait for enough silos to connect.

    Attributes
    ----------
    num_partitions : int or None
        How many silos there are, as the one that answered last said.
    """

    def __init__(self, timeout: float = 600.0) -> None:
        self.timeout = timeout
        self.num_partitions: int | None = None
        self._partitions: dict[int, int] = {}  # node id -> partition id, of all that have ever been entered
        self._nodes: dict[int, int] = {}  # partition id -> the node that is this silo now
        self._reasons: list[str] = []  # why nodes that are connected are no silos, as of the last update

    def silo(self, node_id: int) -> int:
        """Return the partition id of a node that has been asked."""
        return self._partitions[node_id]

    def know(self, nodes: Iterable[int], grid: Grid) -> None:
        """See to it that ``nodes`` have been asked.

        Raises
        ------
        RunFailedError
            If one of them does not say which silo it is; or as `update`.
        """
        unknown = set(nodes).difference(self._partitions)
        if unknown:
            self.update(grid)
        if unknown := unknown.difference(self._partitions):
            raise RunFailedError(f"node {min(unknown)} did not say which silo it is{self.complaints}")

    @property
    def complaints(self) -> str:
        """Why nodes that are connected take no part, behind a colon; empty if there are none."""
        return f": {'; '.join(self._reasons)}" if self._reasons else ""

    def update(self, grid: Grid) -> list[int]:
        """Ask new nodes who they are; return the connected nodes that answered, by partition id.

        A node that joins later and says that it is a silo which is there already is left out, until that
        one has gone. So is one that comes back when another has taken its place.

        Raises
        ------
        NoAnswerError
            If no node says which silo it is.
        RunFailedError
            If two nodes that are new claim the same partition id.
        """
        connected = list(grid.get_node_ids())
        unknown = sorted(set(connected).difference(self._nodes.values()))
        before, self._reasons = self._reasons, self._ask(grid, unknown, connected) if unknown else []
        for reason in sorted(set(self._reasons).difference(before)):  # it is asked, and may say so, again and again
            log.warning("a node did not say which silo it is and takes no part: %s", reason)
        if connected and not self._partitions:
            raise NoAnswerError(
                "no node said which silo it is; the client app must answer queries "
                f"(fedsq_flwr.federation.answer_query): {'; '.join(self._reasons) or 'no answer'}"
            )
        return sorted(set(connected).intersection(self._nodes.values()), key=self.silo)

    def wait_for(self, grid: Grid, silos: int | None = None, fewest: int | None = None) -> list[int]:
        """Wait until ``silos`` nodes are connected (default: as many as the nodes say there are).

        Those that are there when the time is over do, if they are ``fewest`` or more (default: ``silos``). A
        node that leaves before it has answered, as real ones may, does not end the wait for ``silos``.

        Raises
        ------
        RunFailedError
            If they do not connect in time; or as `update`.
        """
        deadline = time.monotonic() + self.timeout
        told, seconds = -1, waits(_LONGEST_WAIT)
        while True:
            try:
                nodes = self.update(grid)
            except NoAnswerError:
                if silos is None or time.monotonic() > deadline:
                    raise
                nodes = []
            wanted = silos if silos is not None else self.num_partitions or 1
            if len(nodes) >= wanted:
                return nodes
            if time.monotonic() > deadline:
                if len(nodes) >= (wanted if fewest is None else fewest):
                    return nodes
                said = f"{len(nodes)} of {wanted} silos connected within {self.timeout:g} seconds"
                raise RunFailedError(f"{said}{self.complaints}")
            if len(nodes) != told:
                told, seconds = len(nodes), waits(_LONGEST_WAIT)
                log.info("%d of %d silos are connected; the others have %g seconds", told, wanted, self.timeout)
            time.sleep(next(seconds))

    def _ask(self, grid: Grid, nodes: list[int], connected: list[int]) -> list[str]:
        """Enter those of ``nodes`` that say which silo they are; return why the others were not entered."""
        before = {silo: node for silo, node in self._nodes.items() if node in connected}
        entered: dict[int, int] = {}
        reasons = []
        for node, reply in self._replies(grid, nodes):
            if reply.has_error():
                reasons.append(f"node {node}: {reply.error.reason}")
                continue
            try:
                identity = reply.content.config_records[CONFIG]
                silo, silos = (int(identity[key]) for key in (PARTITION_ID, NUM_PARTITIONS))  # type: ignore[arg-type]
            except (KeyError, TypeError, ValueError) as error:
                reasons.append(f"node {node}: its answer cannot be read ({type(error).__name__}: {error})")
                continue
            if silo in entered:
                first, second = sorted((entered[silo], node))
                raise RunFailedError(f"nodes {first} and {second} both say that they are silo {silo}")
            if silo in before:
                reasons.append(f"node {node} says that it is silo {silo}, which node {before[silo]} is")
                continue
            entered[silo] = node
            self.num_partitions = silos
        self._nodes |= entered
        self._partitions |= {node: silo for silo, node in entered.items()}
        for silo, node in sorted(entered.items()):
            log.info("silo %d is connected (node %d)", silo, node)
        return reasons

    def _replies(self, grid: Grid, nodes: list[int]) -> list[tuple[int, Message]]:
        """Ask each of ``nodes`` who it is; return the first reply of each that replied."""
        messages = [Message(RecordDict(), node, MessageType.QUERY) for node in nodes]
        replies = list(grid.send_and_receive(messages, timeout=min(self.timeout, ANSWER_SECONDS)))
        asked, found = Asked(messages), dict[int, Message]()
        for reply in replies:
            node = asked.node(reply)
            if node is not None:
                found.setdefault(node, reply)
        return list(found.items())
