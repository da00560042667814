"""Which node is which silo. Flower's node ids are random in every run, so silos are known by their partition ids."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.asked import Asked
from fedsq_flwr.federation.contents import config_records
from fedsq_flwr.federation.faults import in_one_line
from fedsq_flwr.federation.protocol import (
    CONFIG,
    EVALUATE_EXAMPLES,
    NAME,
    NUM_PARTITIONS,
    PARTITION_ID,
    SETTINGS,
    TRAIN_EXAMPLES,
)
from fedsq_flwr.federation.ranges import shown
from fedsq_flwr.federation.waiting import waits
from fedsq_flwr.flower_internals import registered_names
from fedsq_flwr.settings.silo import check_name, titled

log = logging.getLogger(__name__)

#: Seconds that a real silo has to say who it is: one that hangs must not hold up every round for long.
ANSWER_SECONDS = 60.0
#: More silos than any federation has.
MOST_SILOS = 2**31
_LONGEST_WAIT = 1.0  # seconds between two polls; nodes that take no part are asked each time


class NoAnswerError(RunFailedError):
    """Nodes are connected, and none of them says which silo it is."""


@dataclass
class _Asking:
    """What came of asking nodes who they are."""

    asked: int = 0
    silent: list[int] = field(default_factory=list)  # nodes that did not answer
    reasons: list[str] = field(default_factory=list)  # why others are no silos
    seconds: float = 0.0


class NodeRegistry:
    """The silos that are connected, each asked once who it is.

    Parameters
    ----------
    timeout : float
        Seconds to wait for enough silos to connect and to say who they are.

    Attributes
    ----------
    num_partitions : int or None
        How many silos there are, as the one that answered last said.
    names : dict of int to str
        The names of those silos that have one, by partition id.
    """

    def __init__(self, timeout: float = 600.0) -> None:
        self.timeout = timeout
        self.num_partitions: int | None = None
        self.names: dict[int, str] = {}
        self._partitions: dict[int, int] = {}  # node id -> partition id, of all that have ever been entered
        self._nodes: dict[int, int] = {}  # partition id -> the node that is this silo now
        self._examples: dict[int, dict[str, int]] = {}  # node id -> the samples that it named, if it named any
        self._last = _Asking()  # as of the last update

    def silo(self, node_id: int) -> int:
        """Return the partition id of a node that has been asked."""
        return self._partitions[node_id]

    def knows(self, node_id: int) -> bool:
        """Tell whether a node has said which silo it is."""
        return node_id in self._partitions

    def known(self) -> dict[int, int]:
        """Return the partition ids of all nodes that have ever said which silo they are."""
        return dict(self._partitions)

    def name(self, node_id: int) -> str:
        """Return what a log calls a node: the silo that it is, or the node where that is not known."""
        silo = self._partitions.get(node_id)
        return f"node {node_id}" if silo is None else f"silo {silo}{self.title(silo)}"

    def title(self, silo: int) -> str:
        """Return what stands behind the number of a silo: its name in brackets, or nothing."""
        return titled(self.names.get(silo))

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

    def examples(self, node: int, kind: str) -> int | None:
        """Return the number of samples that a node named for ``train`` or ``evaluate``; None if it named none."""
        return self._examples.get(node, {}).get(kind)

    def name_examples(self, examples: Sequence[tuple[int, int]]) -> None:
        """Enter how many samples each silo has for ``train`` and ``evaluate``, by whoever distributed them."""
        for node, silo in self._partitions.items():
            self._examples[node] = dict(zip(("train", "evaluate"), examples[silo], strict=True))

    def ask_examples(self, grid: Grid, nodes: Iterable[int], config: ConfigRecord, timeout: float) -> None:
        """Ask each of ``nodes``, once, how many samples it has.

        Parameters
        ----------
        grid : Grid
            Carries the messages.
        nodes : iterable of int
            The nodes; those that have been asked are not asked again.
        config : ConfigRecord
            Holds the settings of the run, which say what data it is about.
        timeout : float
            Seconds to wait for the answers. Of a node that does not answer nothing is known.
        """
        unknown = [node for node in nodes if node not in self._examples]
        if not unknown:
            return
        content = RecordDict({CONFIG: ConfigRecord({SETTINGS: config[SETTINGS]})})
        replies = dict(self._replies(grid, unknown, content, timeout))
        for node in unknown:
            self._examples[node] = _examples_in(replies[node]) if node in replies else {}

    @property
    def complaints(self) -> str:
        """Why nodes that are connected take no part, behind a colon; empty if there are none."""
        return f": {'; '.join(self._last.reasons)}" if self._last.reasons else ""

    def update(self, grid: Grid, answer_seconds: float = ANSWER_SECONDS) -> list[int]:
        """Ask new nodes who they are; return the connected nodes that answered, by partition id.

        Each has ``answer_seconds``, and no longer than all silos have to connect.

        A node that joins later and says that it is a silo which is there already is left out, until that
        one has gone. So is one that comes back when another has taken its place.

        Raises
        ------
        NoAnswerError
            If no node says which silo it is.
        RunFailedError
            If two nodes that are new claim the same partition id, or the same name.
        """
        connected = list(grid.get_node_ids())
        unknown = sorted(set(connected).difference(self._nodes.values()))
        seconds = min(self.timeout, answer_seconds)
        before, self._last = self._last, self._ask(grid, unknown, connected, seconds) if unknown else _Asking()
        # A node is asked, and may say so, again and again.
        for reason in sorted(set(self._last.reasons).difference(before.reasons)):
            log.warning("a node did not say which silo it is and takes no part: %s", reason)
        if connected and not self._partitions:
            raise NoAnswerError(self._nobody())
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
        # The nodes of a simulation do not come and go. On a busy machine the first answer takes them minutes: it
        # waits for Ray and torch to start.
        limit = self.timeout if silos is None else ANSWER_SECONDS
        while True:
            try:
                nodes = self.update(grid, limit)
            except NoAnswerError:
                if (silos is None and not self._last.silent) or time.monotonic() > deadline:
                    raise
                nodes = []
            wanted = silos if silos is not None else self.num_partitions or 1
            if len(nodes) >= wanted:
                return nodes
            if time.monotonic() > deadline:
                if len(nodes) >= (wanted if fewest is None else fewest):
                    return nodes
                said = f"{len(nodes)} of {wanted} silos connected within {self.timeout:g} seconds"
                raise RunFailedError(f"{said}{self.complaints}{self._silence()}")
            if len(nodes) != told:
                told, seconds = len(nodes), waits(_LONGEST_WAIT)
                log.info("%d of %d silos are connected; the others have %g seconds", told, wanted, self.timeout)
            time.sleep(next(seconds))

    def _nobody(self) -> str:
        """Say that no node is known, who was waited for and for how long, and what to do."""
        last = self._last
        answered = f"{last.asked - len(last.silent)} of {last.asked} nodes answered in {last.seconds:.0f} s"
        advice = ["a client app of one's own must answer queries (fedsq_flwr.federation.answer_query)"]
        if last.silent:
            advice.insert(0, f"raise executor.join_timeout, which is {self.timeout:g} s, on a busy machine")
        return f"no node said which silo it is: {answered}{self.complaints}; {'; '.join(advice)}"

    def _silence(self) -> str:
        silent, seconds = len(self._last.silent), self._last.seconds
        who = f"; {silent} more did not say in {seconds:.0f} s which silo they are: raise executor.join_timeout"
        return who if silent else ""

    def _ask(self, grid: Grid, nodes: list[int], connected: list[int], timeout: float) -> _Asking:
        """Enter those of ``nodes`` that say which silo they are; return what came of it."""
        started = time.monotonic()
        replies = self._replies(grid, nodes, RecordDict(), timeout)
        silent = sorted(set(nodes).difference(node for node, _ in replies))
        reasons = self._enter(replies, connected, registered_names(grid))
        return _Asking(len(nodes), silent, reasons, time.monotonic() - started)

    def _enter(
        self, replies: list[tuple[int, Message]], connected: list[int], registered: Mapping[int, str]
    ) -> list[str]:
        """Enter the nodes that say which silo they are; return why the others were not entered."""
        before = {silo: node for silo, node in self._nodes.items() if node in connected}
        entered: dict[int, int] = {}
        taken = {name: silo for silo, name in self.names.items() if silo in before}
        reasons = []
        for node, reply in replies:
            if reply.has_error():
                reasons.append(f"node {node}: {reply.error.reason}")
                continue
            try:
                silo, silos = _identity_in(reply)
                name = _name_in(reply, registered.get(node))
            except (KeyError, TypeError, ValueError) as error:
                reasons.append(
                    in_one_line(f"node {node}: its answer cannot be read ({type(error).__name__}: {error})")
                )
                continue
            if not 0 <= silo < silos <= MOST_SILOS:
                reasons.append(f"node {node} says that it is silo {shown(silo)} of {shown(silos)}")
                continue
            if silo in entered:
                first, second = sorted((entered[silo], node))
                raise RunFailedError(f"nodes {first} and {second} both say that they are silo {silo}")
            if silo in before:
                reasons.append(f"node {node} says that it is silo {silo}, which node {before[silo]} is")
                continue
            if name is not None and name in taken:
                told = f"silos {taken[name]} and {silo} both have the name {name}; each needs its own in silo.yaml"
                if taken[name] in entered:
                    raise RunFailedError(told)
                reasons.append(f"node {node}: {told}")
                continue
            entered[silo] = node
            self.names.pop(silo, None)
            if name is not None:
                self.names[silo] = name
                taken[name] = silo
            if examples := _examples_in(reply):
                self._examples[node] = examples
            self.num_partitions = silos
        self._nodes |= entered
        self._partitions |= {node: silo for silo, node in entered.items()}
        for silo, node in sorted(entered.items()):
            log.info("silo %d%s is connected (node %d)", silo, self.title(silo), node)
        return reasons

    def _replies(
        self, grid: Grid, nodes: list[int], content: RecordDict, timeout: float
    ) -> list[tuple[int, Message]]:
        """Put a query to each of ``nodes``; return the first reply of each that replied."""
        messages = [Message(content, node, MessageType.QUERY) for node in nodes]
        replies = list(grid.send_and_receive(messages, timeout=timeout))
        asked, found = Asked(messages), dict[int, Message]()
        for reply in replies:
            node = asked.node(reply)
            if node is not None:
                found.setdefault(node, reply)
        return list(found.items())


def _identity_in(reply: Message) -> tuple[int, int]:
    """Return the silo's number, and how many silos there are, as a node says.

    Raises
    ------
    KeyError, TypeError
        If it does not say so.
    """
    identity = config_records(reply.content)[CONFIG]
    silo, silos = identity[PARTITION_ID], identity[NUM_PARTITIONS]
    for key in (PARTITION_ID, NUM_PARTITIONS):
        if type(identity[key]) is not int:
            raise TypeError(f"{key} is {shown(identity[key])}, not an integer")
    return silo, silos  # type: ignore[return-value]


def _name_in(reply: Message, registered: str | None) -> str | None:
    """Return the name that a silo says it has, or that its key was registered with; None if there is none.

    Raises
    ------
    TypeError, ValueError
        If what it says is no name, or another one than its key was registered with.
    """
    said = config_records(reply.content)[CONFIG].get(NAME, registered)
    if said is None:
        return None
    if not isinstance(said, str):
        raise TypeError(f"name is {shown(said)}, not a text")
    if registered is not None and said != registered:
        raise ValueError(f"its name is {shown(said)}, but its key was registered with the name {shown(registered)}")
    try:
        return check_name(said)
    except ValueError as error:
        raise ValueError(f"name {shown(said)} {error}") from error


def _examples_in(reply: Message) -> dict[str, int]:
    """Return the numbers of samples that an answer names: all or none, and none if one of them is no number."""
    told: Mapping[str, Any] = {} if reply.has_error() else config_records(reply.content).get(CONFIG, ConfigRecord())
    found = {"train": told.get(TRAIN_EXAMPLES), "evaluate": told.get(EVALUATE_EXAMPLES)}
    return found if all(type(number) is int and number >= 0 for number in found.values()) else {}  # type: ignore
