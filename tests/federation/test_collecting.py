"""A round over a network does not hang on one silo: who is waited for, who is left out, and who may come back."""

import re
import threading
import time

import httpx
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from fedsq_flwr.federation.collecting import Collector
from fedsq_flwr.federation.protocol import CONFIG, ROUND, TRAIN_EXAMPLES
from fedsq_flwr.federation.waiting import ALL, Patience
from fedsq_flwr.flower_internals import ErrorCode, send_messages_as


class Network:
    """A grid whose nodes work on one message after the other, each as long as is told.

    ``seconds`` has, by node, how long each of its messages takes, the last one also those that follow; None: for
    ever. A query is answered as soon as its turn comes. ``lost`` are the nodes that never see their first message, as
    often as they are named. ``gone`` are those that go when they have their first message, of which Flower tells at
    once, and after how many looks they are back.
    """

    def __init__(self, seconds, images=None, lost=(), gone=None, spoil=lambda reply: reply):
        self.seconds = {node: list(each) for node, each in seconds.items()}
        self.images, self.lost, self.spoil = images or {}, list(lost), spoil
        self.gone, self.left = dict(gone or {}), set()
        self.free: dict[int, float] = {}
        self.ready: dict[str, tuple[float, Message]] = {}
        self.asked: list[tuple[int, str]] = []
        self.lock = threading.Lock()

    def push_messages(self, messages):
        names = []
        for message in messages:
            node, name = message.metadata.dst_node_id, f"id{len(self.asked)}"
            message.metadata.__dict__["_message_id"] = name
            names.append(name)
            query = message.metadata.message_type == "query"
            self.asked.append((node, "query" if query else message.metadata.message_type))
            if node in self.lost and not query:
                self.lost.remove(node)
                continue
            if node in self.gone and node not in self.left:
                self.left.add(node)
                self.ready[name] = (0.0, Message(Error(ErrorCode.NODE_UNAVAILABLE, "left"), reply_to=message))
                continue
            times = self.seconds[node]
            takes = 0.0 if query else times.pop(0) if times[1:] else times[0]
            done = None if takes is None else max(self.free.get(node, 0.0), time.monotonic()) + takes
            self.free[node] = float("inf") if done is None else done
            config = ConfigRecord({TRAIN_EXAMPLES: self.images[node]} if query and node in self.images else {})
            reply = self.spoil(Message(RecordDict({CONFIG: config}), reply_to=message))
            with self.lock:
                self.ready[name] = (self.free[node], reply)
        return names

    def pull_messages(self, names):
        (name,) = names
        with self.lock:
            if name in self.ready and self.ready[name][0] <= time.monotonic():
                reply = self.ready.pop(name)[1]
                if isinstance(reply, Exception):
                    raise reply
                return [reply]
        return []

    def get_node_ids(self):
        for node in self.gone:
            self.gone[node] -= 1
        return [node for node in self.seconds if self.gone.get(node, 0) <= 0]


def ask(collector, nodes, number=1, kind="train", timeout=30.0):
    """One exchange with ``nodes``: what each of them has answered, "" for content, or the reason that it has not."""
    send_messages_as(1, 1)
    content = RecordDict() if kind == "query" else RecordDict({CONFIG: ConfigRecord({ROUND: number})})
    messages = [Message(content, node, kind) for node in nodes]
    replies = collector.exchange(messages, timeout)
    asked = {message.metadata.message_id: message.metadata.dst_node_id for message in messages}
    return {asked[r.metadata.reply_to_message_id]: r.error.reason if r.has_error() else "" for r in replies}


@pytest.fixture
def collect():
    made = []

    def collect(network, patience=ALL, poll=0.01, ping_after=30.0):
        made.append(Collector(network, poll, patience))
        made[-1].ping_after, made[-1].look_every = ping_after, 0.02
        return made[-1]

    yield collect
    for collector in made:
        collector.stop()


HALF = Patience(0.5, 0.2)


def test_the_last_silo_has_its_grace_and_is_then_left_out_by_name_with_the_reason(collect):
    collector = collect(Network({1: [0.0], 2: [0.0], 3: [None]}), HALF)
    started = time.monotonic()
    answers = ask(collector, [1, 2, 3])
    assert 0.2 < time.monotonic() - started < 2
    assert answers == {1: "", 2: "", 3: "did not answer in time: left out after 0 s; 2 of 3 had answered in 0 s"}
    assert list(collector.waited) == [3]
    assert collector.waited[3] == pytest.approx(0.2, abs=0.15)


def test_a_silo_that_answers_within_its_grace_takes_part_and_was_waited_for(collect):
    collector = collect(Network({1: [0.0], 2: [0.0], 3: [0.15]}), Patience(0.5, 5.0))
    assert ask(collector, [1, 2, 3]) == {1: "", 2: "", 3: ""}
    assert collector.waited[3] == pytest.approx(0.15, abs=0.14)


@pytest.mark.parametrize("patience", [ALL, Patience(0.5, 0.0, fewest=3), Patience(0.9, 0.0)])
def test_nobody_is_left_out_where_all_are_wanted(collect, patience):
    collector = collect(Network({1: [0.0], 2: [0.0], 3: [0.3]}), patience)
    assert ask(collector, [1, 2, 3]) == {1: "", 2: "", 3: ""}
    assert collector.waited == {}


def test_errors_are_no_answers_that_suffice_and_no_silos_that_are_missed(collect):
    """Two silos fail at once. The third, which trains, is waited for: there is nobody else."""

    def failing(reply):
        node = reply.metadata.src_node_id
        return reply if node == 3 else Message(Error(0, "failed"), reply_to=_asked(reply))

    collector = collect(Network({1: [0.0], 2: [0.0], 3: [0.3]}, spoil=failing), Patience(0.5, 0.0))
    assert ask(collector, [1, 2, 3]) == {1: "failed", 2: "failed", 3: ""}


def _asked(reply):
    """A message that ``reply`` answers."""
    message = Message(RecordDict(), reply.metadata.src_node_id, "train")
    message.metadata.__dict__["_message_id"] = reply.metadata.reply_to_message_id
    return message


@pytest.mark.parametrize(
    ("sufficed", "last", "share", "seconds"),
    [
        (4, None, 1.0, 65),
        (100, None, 1.0, 185),  # a quarter more than the others took, and a minute
        (100, None, 10.0, 1310),  # ten times the images
        (100, None, 0.1, 160),  # few images, and the others' time all the same
        (100, 800.0, 10.0, 1060),  # what it took is known
        (100, 1.0, 10.0, 160),
    ],
)
def test_the_grace_is_scaled_by_the_silos_own_time_or_size(sufficed, last, share, seconds):
    assert Patience(0.5, 60.0).seconds(sufficed, last, share) == pytest.approx(seconds)


def test_before_its_time_is_known_the_largest_silo_has_as_much_more_as_it_has_images(collect):
    network = Network({1: [0.1], 2: [0.1], 3: [0.5]}, images={1: 100, 2: 100, 3: 1000})
    collector = collect(network, Patience(0.5, 0.0))
    assert ask(collector, [1, 2, 3], kind="query") == {1: "", 2: "", 3: ""}
    assert ask(collector, [1, 2, 3]) == {1: "", 2: "", 3: ""}
    without = collect(Network({1: [0.1], 2: [0.1], 3: [0.5]}), Patience(0.5, 0.0))
    assert "did not answer in time" in ask(without, [1, 2, 3])[3]


def test_a_slow_silo_is_not_asked_while_it_is_at_work_and_its_late_answer_is_named(collect, caplog):
    network = Network({1: [0.0], 2: [0.0], 3: [0.8, 0.1]})
    collector = collect(network, HALF)
    collector.name = lambda node: f"silo {node - 1}"
    assert "did not answer in time" in ask(collector, [1, 2, 3])[3]
    assert ask(collector, [1, 2, 3], 2) == {
        1: "",
        2: "",
        3: "was not asked: still at work on train, round 1",
    }
    assert len(collector.unsent) == 1
    assert ask(collector, [1, 2, 3], 2, "evaluate")[3].startswith("was not asked: still at work on train, round 1")
    time.sleep(0.8)
    # Its time is known now: 0.8 s, of which the others are no measure.
    network.seconds[3] = [0.7]
    assert ask(collector, [1, 2, 3], 3) == {1: "", 2: "", 3: ""}
    assert caplog.text.count("silo 2 answered train, round 1 too late, after 1 s: its answer is not used") == 1
    assert [kind for node, kind in network.asked if node == 3] == ["train", "query", "train"]


def test_a_silo_that_never_saw_its_message_says_so_and_is_asked_again(collect, caplog):
    collector = collect(Network({1: [0.0], 2: [0.0], 3: [0.0]}, lost=[3]), HALF)
    assert "did not answer in time" in ask(collector, [1, 2, 3])[3]
    time.sleep(0.2)
    ask(collector, [1, 2], 2)
    time.sleep(0.2)
    assert ask(collector, [1, 2, 3], 3) == {1: "", 2: "", 3: ""}
    assert re.search("node 3 gave no late answer to train, round 1, after . s: the message was lost", caplog.text)


def test_a_silo_that_was_waited_for_until_the_timeout_is_not_asked_either(collect):
    collector = collect(Network({1: [0.0], 2: [None]}))
    assert ask(collector, [1, 2], timeout=0.2) == {1: ""}
    started = time.monotonic()
    assert ask(collector, [1, 2], 2, timeout=30)[2].startswith("was not asked: still at work on train, round 1")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("kind", ["train", "evaluate"])
@pytest.mark.parametrize(("others", "patience"), [(0.0, HALF), (0.4, HALF), (0.4, ALL), (0.0, Patience(1.0, 0.2))])
def test_a_silo_that_went_and_is_back_within_the_round_is_asked_again(collect, caplog, kind, others, patience):
    network = Network({1: [others], 2: [others], 3: [0.05]}, gone={3: 2})
    assert ask(collect(network, patience), [1, 2, 3], kind=kind) == {1: "", 2: "", 3: ""}
    assert [node for node, asked in network.asked if asked == kind].count(3) == 2
    assert f"node 3 is back without an answer to {kind}, round 1, and is asked again" in caplog.text


def test_a_silo_that_is_alone_is_waited_for_for_the_grace_when_it_went(collect):
    assert ask(collect(Network({1: [0.0]}, gone={1: 3}), Patience(0.5, 2.0)), [1]) == {1: ""}


@pytest.mark.parametrize("nodes", [[1, 2, 3], [3]])
def test_a_silo_that_stays_away_costs_the_round_no_more_than_a_slow_one(collect, nodes):
    network = Network({1: [0.0], 2: [0.0], 3: [0.0]}, gone={3: 10**6})
    started = time.monotonic()
    assert ask(collect(network, HALF), nodes)[3] == "left"
    assert 0.2 <= time.monotonic() - started < 2


def test_a_silo_whose_process_ended_unseen_answers_the_query_behind_its_message_and_is_asked_again(collect):
    network = Network({1: [0.0], 2: [0.4]}, lost=[1])
    assert ask(collect(network, ping_after=0.05), [1, 2]) == {1: "", 2: ""}
    assert [kind for node, kind in network.asked if node == 1] == ["train", "query", "train"]
    assert [kind for node, kind in network.asked if node == 2] == ["train", "query"]  # it works on its message


def test_a_silo_that_loses_its_message_each_time_fails(collect):
    network = Network({1: [0.0], 2: [0.0]}, lost=[1] * 9)
    answers = ask(collect(network, ping_after=0.01), [1, 2])
    assert answers == {1: "lost its message 4 times: its process ended", 2: ""}


def test_a_query_behind_a_message_says_nothing_of_the_next_one(collect):
    network = Network({1: [0.1, 0.5]})
    collector = collect(network, ping_after=0.05)
    assert ask(collector, [1]) == ask(collector, [1], 1, "evaluate") == {1: ""}
    assert [kind for _, kind in network.asked] == ["train", "query", "evaluate", "query"]


def test_a_reply_that_cannot_be_read_costs_one_reply_and_one_that_stalls_holds_up_no_other(collect):
    class Stalling(Network):
        def pull_messages(self, names):
            found = super().pull_messages(names)
            if found and found[0].metadata.src_node_id == 2:
                time.sleep(1.0)  # as an upload that stalls does, within Flower
            if found and found[0].metadata.src_node_id == 3:
                raise KeyError("no such object")
            return found

    collector = collect(Stalling({1: [0.1], 2: [0.0], 3: [0.0], 4: [0.1]}), HALF)
    started = time.monotonic()
    answers = ask(collector, [1, 2, 3, 4])
    assert time.monotonic() - started < 0.9
    assert answers[1] == answers[4] == ""
    assert "did not answer in time" in answers[2]
    assert answers[3] == "sends what cannot be read (KeyError: 'no such object')"


def test_a_server_that_cannot_be_reached_ends_the_wait(collect):
    class Gone(Network):
        def pull_messages(self, names):
            raise httpx.ConnectError("refused")

    with pytest.raises(httpx.ConnectError, match="refused"):
        ask(collect(Gone({1: [0.0]})), [1])
