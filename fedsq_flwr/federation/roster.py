"""Which node is which silo: ordered by partition id, since Flower's node ids are random in every run."""

import logging
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.grid_view import GridView
from fedsq_flwr.federation.protocol import CONFIG, NUM_PARTITIONS, PARTITION_ID
from fedsq_flwr.federation.waiting import waits

log = logging.getLogger(__name__)

#: Seconds that a node has to say who it is: one that hangs must not hold up every round for long.
ANSWER_SECONDS = 60.0
_LONGEST_WAIT = 1.0  # seconds between two looks for silos; whoever takes no part is asked each time


class NoAnswerError(RunFailedError):
    """Nodes are connected, and none of them says which silo it is."""


class Roster:
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
                f"(fedsq_flwr.federation.messages.answer_query): {'; '.join(self._reasons) or 'no answer'}"
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
        asked = [Message(RecordDict(), node, MessageType.QUERY) for node in nodes]
        for reply in grid.send_and_receive(asked, timeout=min(self.timeout, ANSWER_SECONDS)):
            node = reply.metadata.src_node_id
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


class OrderedGrid(GridView):
    """A view of a grid whose nodes come in the order of their partition ids.

    An inner strategy samples from it as from any grid. If it goes on asking for more nodes than there
    are, the wait ends with an error instead of never.
    """

    def __init__(self, grid: Grid, roster: Roster) -> None:
        super().__init__(grid)
        self._roster = roster
        self._deadline = time.monotonic() + roster.timeout

    def get_node_ids(self) -> Iterable[int]:
        """Return the connected nodes, ordered by partition id."""
        nodes = self._roster.update(self._grid)
        if time.monotonic() > self._deadline:
            raise RunFailedError(
                f"{len(nodes)} silos are connected, fewer than the inner strategy's minimum, "
                f"after {self._roster.timeout:g} seconds{self._roster.complaints}"
            )
        return nodes


@contextmanager
def seeded_sampling(seed: int) -> Iterator[None]:
    """Give the global `random`, which Flower's strategies sample from, our own seed within the block."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
