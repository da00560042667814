"""The collection of replies over a network: each is looked for by itself, and none is waited for too long."""

import logging
import math
import queue
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import httpx
from flwr.app import ConfigRecord, Error, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.contents import array_records, config_records
from fedsq_flwr.federation.protocol import CONFIG, MODEL, STRUCTURE, TRAIN_EXAMPLES, round_of
from fedsq_flwr.federation.spool import EarlyReplies
from fedsq_flwr.federation.waiting import ALL, Patience, waits
from fedsq_flwr.flower_internals import ErrorCode, give_message_id

log = logging.getLogger(__name__)

_SIDE_BY_SIDE = 10  # silos whose replies are looked for as often as they can be; with more each is less often
_MOST_SENDINGS = 4  # of a message to a silo that loses it each time


@dataclass
class _Sent:
    """A message that was sent, how often, and when: first and last, on the monotonic clock."""

    message: Message
    at: float
    sendings: int = 1
    last: float = 0.0
    pinged: bool = False

    @property
    def node(self) -> int:
        return self.message.metadata.dst_node_id

    @property
    def kind(self) -> str:
        """What is asked for; a query that brings a structure or a model takes its own time."""
        brings = {STRUCTURE, MODEL}.intersection(array_records(self.message.content))
        return min(brings, default=self.message.metadata.message_type)

    @property
    def is_work(self) -> bool:
        """Whether the node is sent it again if it loses it: who it is, a node is asked anew anyway."""
        return self.message.metadata.message_type != MessageType.QUERY

    def __str__(self) -> str:
        return f"{self.kind}{round_of(self.message)}"


@dataclass
class _Exchange:
    """An exchange of messages in progress."""

    asked: int
    started: float
    waiting: dict[str, _Sent]
    failed: int = 0
    answered: list[int] = field(default_factory=list)  # nodes
    sufficed: float | None = None  # seconds after which enough had answered
    due: dict[str, float] = field(default_factory=dict)  # when the wait for each of the others is over
    away: dict[str, tuple[float, Message]] = field(
        default_factory=dict
    )  # whose nodes went; since when, Flower's word
    next_look: float = 0.0  # for those that went
    replies: list[Message] = field(default_factory=list)

    def take_replies(self) -> list[Message]:
        """Return the replies that are there, and forget them."""
        found, self.replies = self.replies, []
        return found


class Collector:
    """Sends messages and collects the replies, over a grid that a network lies behind.

    A reply is looked for by a thread of its own. So a reply that cannot be read costs one reply, and one that arrives
    slowly holds up no other. Replies that come faster than they are averaged wait on disk, beyond the first few.

    A message is delivered once. A node whose process ended has lost it, and is sent it again if it is back within the
    exchange. Flower tells of a node that went, or the node answers a query that was sent behind the message. A node
    that went is waited for as a slow one is, or, where nobody else is waited for, for the grace.

    A node that does not answer in time owes an answer. It works on one message after the other, so it is sent no
    other message until it has answered, late, or has answered a query that was sent behind the message: then the
    message was lost. A late answer is named in the log, and used for nothing but the time that the node took.

    Parameters
    ----------
    grid : Grid
        Carries the messages.
    poll : float
        The most seconds between two looks for a reply.
    patience : Patience, optional
        How long the last replies are waited for; by default until the timeout.

    Attributes
    ----------
    name : callable
        What the log calls a node.
    waited : dict of int to float
        How many seconds longer each node was waited for than until enough others had answered. Whoever reads it
        empties it.
    ping_after : float
        Seconds after which a query is sent behind a message that is not answered yet.
    look_every : float
        Seconds between two looks for nodes that went.
    unsent : set of str
        Ids of those messages of the last exchange that were not sent.
    """

    def __init__(self, grid: Grid, poll: float, patience: Patience = ALL) -> None:
        self.name: Callable[[int], str] = lambda node: f"node {node}"
        self.waited: dict[int, float] = {}
        self.unsent: set[str] = set()
        self.ping_after, self.look_every = 30.0, 2.0
        self._grid = grid
        self._poll = poll
        self._patience = patience
        self._arrived: queue.SimpleQueue[tuple[str, int | Exception, float]] = queue.SimpleQueue()
        self._replies = EarlyReplies[tuple[str, int]]()  # that arrived, by the message and their number
        self._stopped = threading.Event()
        self._owed: dict[str, _Sent] = {}
        self._pings: dict[str, str] = {}  # queries, and what they were sent behind
        self._final: set[str] = set()  # what a node owes, and has nothing more to say to
        self._seconds: dict[tuple[str, int], float] = {}  # by kind and node, of the last answer
        self._examples: dict[int, int] = {}  # samples to train with, by node, as it says before it trains

    def stop(self) -> None:
        """Look for no more replies."""
        self._stopped.set()

    def exchange(self, messages: Iterable[Message], timeout: float | None) -> Iterator[Message]:
        """Send ``messages`` to the nodes that owe nothing; return an iterator over the replies that come in time.

        A node that owes an answer, and one that is left out, has an error reply that says so.
        """
        while self._take(None, 0.0):  # what came since the last exchange
            pass
        self.unsent = set()
        busy = {sent.node: sent for sent in self._owed.values()}
        asked, refused = [], []
        for message in messages:
            if (sent := busy.get(message.metadata.dst_node_id)) is None:
                asked.append(message)
            else:
                give_message_id(message, uuid.uuid4().hex)
                self.unsent.add(message.metadata.message_id)
                refused.append(_error(message, f"was not asked: still at work on {sent}"))
        now = time.monotonic()
        ids = list(self._grid.push_messages(asked)) if asked else []
        sent_now = {name: _Sent(m, now, last=now) for name, m in zip(ids, asked, strict=False) if name}
        going = _Exchange(len(asked), now, sent_now, failed=len(asked) - len(sent_now), replies=refused)
        for name in sent_now:
            self._listen(name, len(sent_now))
        return self._collect(going, math.inf if timeout is None else now + timeout)

    def _collect(self, going: _Exchange, end: float) -> Iterator[Message]:
        yield from going.take_replies()
        while going.waiting:
            present = going.asked - going.failed - len(going.away)
            if going.sufficed is None and self._patience.suffices(len(going.answered), present):
                going.sufficed = enough = time.monotonic() - going.started
                going.due = {name: self._due(going, sent, enough) for name, sent in going.waiting.items()}
            if going.sufficed is None:
                all_away = going.away.keys() == going.waiting.keys()
                going.due = {n: at + self._patience.grace for n, (at, _) in going.away.items()} if all_away else {}
            until = min([end, *going.due.values()])
            if self._take(going, min(until, self._next_deed(going)) - time.monotonic()):
                yield from going.take_replies()
                continue
            self._ping_and_look(going)
            now = time.monotonic()
            for name, sent in list(going.waiting.items()):
                if min(end, going.due.get(name, math.inf)) > now:
                    continue
                going.due.pop(name, None)
                del going.waiting[name]
                if name in going.away:
                    self._give_up(going, sent, going.away.pop(name)[1], now)
                    continue
                if end > now:
                    self._leave_out(going, sent, now)
                self._owed[name] = sent
                self._ping(name, sent, 1)
            yield from going.take_replies()

    def _next_deed(self, going: _Exchange) -> float:
        """Return when there is something to do though nothing arrives."""
        pings = [sent.last + self.ping_after for _, sent in self._without_ping(going)]
        return min([*pings, *([going.next_look] if going.away else [])], default=math.inf)

    def _without_ping(self, going: _Exchange) -> list[tuple[str, _Sent]]:
        here = (each for each in going.waiting.items() if each[0] not in going.away)
        return [(name, sent) for name, sent in here if sent.is_work and not sent.pinged]

    def _ping_and_look(self, going: _Exchange) -> None:
        """Send queries behind messages that take long, and messages again to nodes that went and are back."""
        now = time.monotonic()
        for name, sent in self._without_ping(going):
            if now >= sent.last + self.ping_after:
                self._ping(name, sent, len(going.waiting))
        if going.away and now >= going.next_look:
            going.next_look = now + self.look_every
            connected = set(self._grid.get_node_ids())
            for name in [name for name in going.away if going.waiting[name].node in connected]:
                self._send_again(going, name)

    def _send_again(self, going: _Exchange, name: str) -> None:
        """Send a message again whose node has lost it; a node that loses it again and again fails."""
        sent, now = going.waiting.pop(name), time.monotonic()
        going.away.pop(name, None)
        due = going.due.pop(name, None)
        again: list[str] = []
        if sent.sendings < _MOST_SENDINGS:
            was = sent.message.metadata
            copy = Message(
                sent.message.content, was.dst_node_id, was.message_type, ttl=was.ttl, group_id=was.group_id
            )
            again = [new for new in self._grid.push_messages([copy]) if new]
        if not again:
            told = f"lost its message {sent.sendings} times: its process ended"
            self._give_up(going, sent, _error(sent.message, told), now)
            return
        log.warning("%s is back without an answer to %s, and is asked again", self.name(sent.node), sent)
        going.waiting[again[0]] = _Sent(sent.message, sent.at, sent.sendings + 1, now)
        if due is not None:
            going.due[again[0]] = due
        self._listen(again[0], len(going.waiting))

    def _give_up(self, going: _Exchange, sent: _Sent, error: Message, now: float) -> None:
        going.failed += 1
        self._note_wait(going, sent, now)
        going.replies.append(error)

    def _note_wait(self, going: _Exchange, sent: _Sent, at: float) -> None:
        if going.sufficed is not None and (more := at - going.started - going.sufficed) > 0:
            self.waited[sent.node] = self.waited.get(sent.node, 0.0) + more

    def _due(self, going: _Exchange, sent: _Sent, sufficed: float) -> float:
        """Return when the wait for the answer to ``sent`` is over, now that enough have answered."""
        others = [self._examples[node] for node in going.answered if self._examples.get(node)]
        own = self._examples.get(sent.node)
        share = own / statistics.median(others) if own and others else 1.0
        last = self._seconds.get((sent.kind, sent.node))
        return going.started + self._patience.seconds(sufficed, last, share)

    def _leave_out(self, going: _Exchange, sent: _Sent, now: float) -> None:
        took, enough = now - sent.at, going.sufficed or 0.0
        last = self._seconds.get((sent.kind, sent.node))
        before = "" if last is None else f"; its last answer took {last:.0f} s"
        others = f"{len(going.answered)} of {going.asked} had answered in {enough:.0f} s{before}"
        self.waited[sent.node] = self.waited.get(sent.node, 0.0) + took - enough
        going.replies.append(_error(sent.message, f"did not answer in time: left out after {took:.0f} s; {others}"))

    def _take(self, going: _Exchange | None, seconds: float) -> bool:
        """Wait for the next arrival, and take it in; tell whether there was one."""
        try:
            name, arrived, at = self._arrived.get(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))
        except queue.Empty:
            return False
        found: list[Message] | Exception
        found = arrived if isinstance(arrived, Exception) else [self._replies.pop((name, n)) for n in range(arrived)]
        sent = None if going is None else going.waiting.get(name)
        if isinstance(found, httpx.HTTPError | RunFailedError) and sent is not None:
            raise found
        if isinstance(found, Exception):
            told = f"sends what cannot be read ({type(found).__name__}: {' '.join(str(found).split())[:200]})"
            asked = sent or self._owed.get(name)
            found = [] if asked is None else [_error(asked.message, told)]
        right = [reply for reply in found if reply.metadata.reply_to_message_id == name]
        for reply in [reply for reply in found if reply not in right] + right[1:]:
            node = reply.metadata.src_node_id
            log.warning("node %d answered what it was not asked, or twice", node)
        if going is not None and sent is not None:
            if not found and name in self._final:
                self._send_again(going, name)
                return True
            reply = right[0] if right else _error(sent.message, "answers what it was not asked")
            if _is_gone(reply) and sent.is_work:
                going.away[name] = at, reply
                going.next_look = at + self.look_every
                return True
            del going.waiting[name]
            going.due.pop(name, None)
            if sent.sendings > 1:
                reply = _as_to(sent, reply)
            self._note(sent, reply, at)
            if reply.has_content():
                going.answered.append(sent.node)
            else:
                going.failed += 1
            self._note_wait(going, sent, at)
            going.replies.append(reply)
        else:
            self._take_late(name, right[0] if right else None, at)
        return True

    def _take_late(self, name: str, reply: Message | None, at: float) -> None:
        if (sent := self._owed.pop(name, None)) is not None:
            who, took = self.name(sent.node), at - sent.at
            if reply is not None and reply.has_content():
                self._note(sent, reply, at)
                log.warning("%s answered %s too late, after %.0f s: its answer is not used", who, sent, took)
            else:
                reason = "the message was lost" if reply is None else reply.error.reason
                log.warning("%s gave no late answer to %s, after %.0f s: %s", who, sent, took, reason)
        elif (behind := self._pings.pop(name, None)) is not None and not _is_gone(reply):
            self._final.add(behind)

    def _note(self, sent: _Sent, reply: Message, at: float) -> None:
        if not reply.has_content():
            return
        self._seconds[sent.kind, sent.node] = at - sent.at
        examples = config_records(reply.content).get(CONFIG, ConfigRecord()).get(TRAIN_EXAMPLES)
        if sent.kind == MessageType.QUERY and type(examples) is int:
            self._examples[sent.node] = examples

    def _ping(self, behind: str, sent: _Sent, beside: int) -> None:
        """Send a query behind a message: its answer says that the node is done with that, or has lost it."""
        sent.pinged = True
        for name in self._grid.push_messages([Message(RecordDict(), sent.node, MessageType.QUERY)]):
            if name:
                self._pings[name] = behind
                self._listen(name, beside)

    def _listen(self, name: str, beside: int) -> None:
        longest = self._poll * max(1.0, beside / _SIDE_BY_SIDE)
        threading.Thread(target=self._look, args=(name, longest), daemon=True, name=f"reply {name[:8]}").start()

    def _look(self, name: str, longest: float) -> None:
        for seconds in waits(longest):
            last = name in self._final
            try:
                found, at = list(self._grid.pull_messages([name])), time.monotonic()
                for number, reply in enumerate(found):
                    self._replies.put((name, number), reply)
                arrived: int | Exception = len(found)
            except Exception as error:  # noqa: BLE001 - told to the thread that waits
                arrived, at = error, time.monotonic()
            if arrived or last:
                self._arrived.put((name, arrived, at))
                return
            if self._stopped.wait(seconds):
                return


def _is_gone(reply: Message | None) -> bool:
    return reply is not None and reply.has_error() and reply.error.code == ErrorCode.NODE_UNAVAILABLE


def _as_to(sent: _Sent, reply: Message) -> Message:
    """Return the reply to a message that was sent again as one to the message as it was sent first."""
    if reply.has_error():
        return Message(reply.error, reply_to=sent.message)
    if reply.metadata.src_node_id != sent.node:
        return _error(sent.message, f"was answered for by node {reply.metadata.src_node_id}")
    return Message(reply.content, reply_to=sent.message)


def _error(message: Message, reason: str) -> Message:
    return Message(Error(ErrorCode.UNKNOWN, reason), reply_to=message)
