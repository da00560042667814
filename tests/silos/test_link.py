"""A silo's connection: what it waits for, what it gives up on, and what a run that ends does to it."""

import logging
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.serde import run_to_proto
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, run_pb2
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.retry import constant
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedsq_flwr.errors import ConfigurationError, RunFailedError
from fedsq_flwr.executors.superlink import free_port
from fedsq_flwr.silos import link as link_module
from fedsq_flwr.silos.link import Link
from fedsq_flwr.silos.node import APP_ID, Node
from fedsq_flwr.silos.transfer import RunOverError
from tests.silos.fleet import NODE_ID, Fleet

RUN_ID = 5


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet() as fleet:
        yield fleet


@pytest.fixture
def on_warning(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], object]], list[str]]]:
    """Do something when the link logs its first warning, in the thread that logs it; gives all lines."""
    log = link_module.log
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "level", logging.INFO)
    handlers = []

    def listen(then: Callable[[], object]) -> list[str]:
        lines: list[str] = []

        class Listening(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                lines.append(record.getMessage())
                if len(lines) == 1:
                    then()

        handlers.append(Listening())
        log.addHandler(handlers[-1])
        return lines

    yield listen
    for handler in handlers:
        log.removeHandler(handler)


def connected(fleet: Fleet) -> Link:
    return Link(fleet.address, keys=None, insecure=True)


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_silo_without_a_key_registers_itself_and_is_gone_when_it_leaves(fleet: Fleet) -> None:
    with connected(fleet) as link:
        assert link.node_id == NODE_ID
        assert link.receive() is None
    connecting, leaving = ["register-node", "activate-node"], ["deactivate-node", "unregister-node"]
    assert fleet.asked == [*connecting, "pull-messages", *leaving]


def test_a_superlink_that_is_not_there_yet_is_waited_for(on_warning) -> None:
    port = free_port()
    late = []
    lines = on_warning(lambda: late.append(Fleet(port=port).__enter__()))
    try:
        with Link(f"127.0.0.1:{port}", keys=None, insecure=True) as link:
            assert link.node_id == NODE_ID
    finally:
        for fleet in late:
            fleet.stop()
    assert "cannot be reached (" in lines[0]
    assert lines[-1] == f"127.0.0.1:{port} is reached again"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_superlink_that_is_busy_is_asked_again(fleet: Fleet, status: int) -> None:
    fleet.answers["register-node"] = [status, fleet_pb2.RegisterNodeFleetResponse(node_id=NODE_ID)]
    with connected(fleet):
        assert fleet.asked == ["register-node", "register-node", "activate-node"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (401, "refuses this silo: private_key is not the key that it knows, or the clocks differ"),
        (412, "does not know this silo: private_key is not registered there"),
        (403, "answers 403"),
        (404, "answers 404"),
        (307, "answers 307"),
        (500, "answers 500"),
        (b"<html>It works!</html>", "is no SuperLink"),
    ],
)
def test_a_final_answer_ends_it_with_one_line(fleet: Fleet, answer: int | bytes, told: str) -> None:
    fleet.answers["activate-node"] = [answer]
    with pytest.raises(RunFailedError) as caught, connected(fleet):
        pass
    assert str(caught.value).startswith(f"superlink={fleet.address}: {told}")
    assert len(str(caught.value).splitlines()) == 1
    assert fleet.asked == ["register-node", "activate-node"]


def test_a_certificate_that_is_none_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    words = tmp_path / "ca.crt"
    words.write_text("words")
    with pytest.raises(ConfigurationError) as caught:
        Link("127.0.0.1:1", keys=None, root_certificates=str(words))
    assert str(caught.value).startswith(f"root_certificates={words}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_connection_that_breaks_off_while_hands_are_shaken_is_tried_again(authority: Path, server: Path) -> None:
    """So does a SuperLink, or a proxy before it, that is being started again."""
    with Fleet(server) as fleet:
        fleet.hang_ups = 1
        with Link(fleet.address, keys=None, root_certificates=str(authority / "ca.crt")) as link:
            assert link.node_id == NODE_ID
            fleet.hang_ups = 1
            assert link.receive() is None


@pytest.mark.parametrize("answer", [heartbeat_pb2.SendNodeHeartbeatResponse(success=False), 401, 404])
def test_a_superlink_that_no_longer_knows_the_silo_ends_it(fleet: Fleet, answer: object) -> None:
    fleet.answers["send-node-heartbeat"] = [answer]
    with connected(fleet) as link:
        until(link._lost.is_set)
        with pytest.raises(RunFailedError, match="no longer knows this silo"):
            link.receive()


def test_a_heartbeat_that_is_answered_with_nonsense_does_not_keep_the_silo_from_leaving(fleet: Fleet) -> None:
    fleet.answers["send-node-heartbeat"] = [b"<html>"]
    with connected(fleet) as link:
        until(lambda: fleet.heartbeats)
        assert link.receive() is None
    assert fleet.asked[-1] == "unregister-node"


@pytest.mark.parametrize("gone", ["stops", "refuses"])
def test_a_superlink_that_cannot_be_told_goodbye_is_no_error(fleet: Fleet, gone: str, on_warning) -> None:
    lines = on_warning(lambda: None)
    with connected(fleet):
        if gone == "stops":
            fleet.stop()
        fleet.answers["deactivate-node"] = [412]
    assert [line for line in lines if "could not be told that this silo leaves" in line]


def train_message() -> Message:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, 1, 0
    arrays = ArrayRecord({"w": Array(np.arange(6, dtype=np.float32).reshape(2, 3))})
    return Message(RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": 3})}), NODE_ID, "train")


def test_messages_and_replies_arrive_whole(fleet: Fleet) -> None:
    sent = train_message()
    fleet.hand_out(sent)
    with connected(fleet) as link:
        message = link.receive()
        assert message is not None
        assert message.metadata.run_id == RUN_ID
        assert message.metadata.message_id == sent.metadata.message_id
        np.testing.assert_array_equal(message.content["arrays"]["w"].numpy(), sent.content["arrays"]["w"].numpy())
        assert dict(message.content["config"]) == {"server-round": 3}
        assert fleet.asked[-1] == "confirm-message-received"

        reply = Message(RecordDict({"config": ConfigRecord({"answer": "a"})}), reply_to=message)
        link.send(reply, 0.1)
    arrived = inflate_object_from_contents(reply.object_id, dict(fleet.pushed))
    assert isinstance(arrived, Message)
    assert arrived.metadata.reply_to_message_id == sent.metadata.message_id
    assert dict(arrived.content["config"]) == {"answer": "a"}


def test_arrays_that_the_last_message_had_are_not_fetched_again(fleet: Fleet) -> None:
    """The model that silos evaluate is the one that they train from next."""
    model = ArrayRecord({"w": Array(np.arange(100_000, dtype=np.float32))})
    other = ArrayRecord({"w": Array(np.ones(100_000, np.float32))})
    question = train_message()
    TaskIdentity.run_id = RUN_ID
    fetched = []
    with connected(fleet) as link:
        for arrays in (model, None, model, other, model):
            records = {"config": ConfigRecord({"server-round": len(fetched)})}
            content = RecordDict(records if arrays is None else {**records, "arrays": arrays})
            fleet.hand_out(Message(content, question.metadata.dst_node_id, "train" if arrays else "query"))
            before = fleet.asked.count("pull-object")
            message = link.receive()
            assert message is not None
            fetched.append(fleet.asked.count("pull-object") - before)
            if arrays is not None:
                np.testing.assert_array_equal(message.content["arrays"]["w"].numpy(), arrays["w"].numpy())
    # Message, contents, settings; the record of arrays, the array, its one chunk.
    assert fetched == [6, 3, 3, 6, 6]


def test_objects_that_the_server_is_still_uploading_are_looked_for_again_soon(fleet: Fleet) -> None:
    fleet.hand_out(train_message())
    on_its_way = message_pb2.PullObjectResponse(object_found=True, object_available=False)
    fleet.answers["pull-object"] = [on_its_way] * 3 + fleet.answers["pull-object"]
    with connected(fleet) as link:
        started = time.monotonic()
        assert link.receive() is not None
        assert time.monotonic() - started < 0.8  # Flower's own wait is 0.8 s at least


def test_a_message_of_more_bytes_than_the_silos_network_has_is_refused_while_it_is_fetched(fleet: Fleet) -> None:
    """The server is told, and the silo goes on."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, 1, 0
    large = ArrayRecord({f"w{i}": Array(np.random.default_rng(i).random(2**16)) for i in range(20)})
    fleet.hand_out(Message(RecordDict({"arrays": large}), NODE_ID, "train"))
    run = Run.create_empty(RUN_ID)
    run.fab_id = APP_ID
    fleet.answers["get-run"] = [run_pb2.GetRunResponse(run=run_to_proto(run))]
    with connected(fleet) as link:
        node = Node(link, None, {}, lambda context: 10**6 if context.run_id == RUN_ID else 0)
        assert node.answer_next()
        assert not node.answer_next()
    # Ten megabytes were waiting; no more than two objects above the bound were fetched.
    assert fleet.asked.count("pull-object") < 10
    replies = [inflate_object_from_contents(name, dict(fleet.pushed)) for name in fleet.pushed]
    (reply,) = [each for each in replies if isinstance(each, Message)]
    assert reply.error.reason == "a message has more than 1,000,000 bytes, which are the most for this silo's network"


#: What a run that has ended does to a message, and to the reply, at each step of the way.
LOST = {
    "pull-object": [403, message_pb2.PullObjectResponse(object_found=False)],
    "confirm-message-received": [403],
    "push-messages": [403],
    "push-object": [403, message_pb2.PushObjectResponse(stored=False)],
}


@pytest.mark.parametrize(("call", "answer"), [(call, answer) for call in LOST for answer in LOST[call]])
def test_a_run_that_ends_in_between_is_told_from_a_broken_connection(fleet: Fleet, call: str, answer: object) -> None:
    fleet.hand_out(train_message())
    fleet.answers[call] = [answer]
    with connected(fleet) as link:
        with pytest.raises(RunOverError):
            message = link.receive()
            assert message is not None
            link.send(Message(RecordDict(), reply_to=message), 0.1)
        assert link.receive() is None  # and it goes on


def press_ctrl_c() -> None:
    """Interrupt the main thread while it waits for the objects of its reply.

    It is pressed until the thread has left: a signal is not noticed that comes just before a lock is waited for.
    """
    main = threading.main_thread().ident
    assert main is not None

    def waits() -> bool:
        functions = (frame.f_code.co_name for frame, _ in traceback.walk_stack(sys._current_frames()[main]))
        return "as_completed" in functions

    until(waits)
    while waits():
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.1)


def test_a_silo_leaves_at_once_even_while_a_reply_cannot_be_sent(
    fleet: Fleet, on_warning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that went on waiting for the next try would keep the process from ending."""
    monkeypatch.setattr(link_module, "exponential", lambda **_: constant(200))
    trying, pressing = [], threading.Thread(target=press_ctrl_c)

    def interrupt() -> None:
        trying.append(threading.current_thread())
        pressing.start()

    on_warning(interrupt)
    fleet.hand_out(train_message())
    fleet.answers["push-object"] = [503]
    with pytest.raises(KeyboardInterrupt), connected(fleet) as link:
        message = link.receive()
        assert message is not None
        link.send(Message(RecordDict(), reply_to=message), 0.1)
    pressing.join()
    (thread,) = trying
    assert thread is not threading.main_thread()
    until(lambda: not thread.is_alive(), seconds=1)


def test_what_the_superlink_says_of_a_run(fleet: Fleet) -> None:
    run = Run.create_empty(RUN_ID)
    run.fab_id = "fedsq/fedsq-flwr"
    fleet.answers["get-run"] = [run_pb2.GetRunResponse(run=run_to_proto(run))]
    with connected(fleet) as link:
        assert link.run(RUN_ID).fab_id == "fedsq/fedsq-flwr"
        fleet.answers["get-run"] = [403]
        with pytest.raises(RunOverError):
            link.run(RUN_ID)
