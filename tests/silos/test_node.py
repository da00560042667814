"""The process of a silo: what it answers, what it keeps to itself, and which runs it takes part in."""

import logging
from collections.abc import Callable, Iterator

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedsq_flwr.errors import ConfigurationError, DataError, RunFailedError, WeightsError
from fedsq_flwr.silos import node as node_module
from fedsq_flwr.silos.node import APP_ID, Node
from fedsq_flwr.silos.transfer import RunOverError

PATH = "/data/Mueller_Anna_1970/slice.dcm"


class FakeLink:
    """Hands out messages of the runs that are named, and takes the replies."""

    node_id = 7
    takes = True

    def __init__(self, *run_ids: int, app_id: str = APP_ID) -> None:
        self.waiting = [self.message(run_id) for run_id in run_ids]
        self.app_id = app_id
        self.replies: list[Message] = []
        self.seconds: list[float] = []
        self.runs_asked: list[int] = []

    def message(self, run_id: int) -> Message:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, 1, 0
        return Message(RecordDict(), self.node_id, "train")

    def receive(self) -> Message | None:
        return self.waiting.pop(0) if self.waiting else None

    def run(self, run_id: int) -> Run:
        self.runs_asked.append(run_id)
        run = Run.create_empty(run_id)
        run.fab_id, run.override_config = self.app_id, {"settings": "{}"}
        return run

    def send(self, reply: Message, seconds: float) -> bool:
        self.replies.append(reply)
        self.seconds.append(seconds)
        return self.takes


@pytest.mark.parametrize("takes", [True, False])
def test_a_training_is_forgotten_once_its_reply_was_taken(app, takes: bool, caplog: pytest.LogCaptureFixture) -> None:
    link, forgotten = FakeLink(1), []
    link.takes = takes
    Node(link, app(lambda _: None), {}, trained=lambda: forgotten.append(len(link.replies))).answer_next()
    assert forgotten == ([1] if takes else [])
    assert ("the server no longer waits for this answer to train" in caplog.text) == (not takes)


@pytest.mark.parametrize("private", [False, True])
def test_the_duration_of_a_private_silos_answer_does_not_leave(app, private: bool) -> None:
    link = FakeLink(1)
    Node(link, app(lambda _: None), {"privacy": "{}"} if private else {}).answer_next()
    (seconds,) = link.seconds
    assert (seconds == 0) is private


@pytest.fixture
def app() -> Iterator[Callable[[Callable[[Context], None]], ClientApp]]:
    """Make an app that does something with each context, and answers."""

    def make(do: Callable[[Context], None]) -> ClientApp:
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            do(context)
            return Message(RecordDict(), reply_to=message)

        return app

    yield make


def raising(error: BaseException) -> Callable[[Context], None]:
    def do(_: Context) -> None:
        raise error

    return do


def reason_of(link: FakeLink, app: ClientApp) -> str:
    assert Node(link, app, {}).answer_next()
    (reply,) = link.replies
    assert reply.has_error()
    return str(reply.error.reason)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DataError(f"{PATH}: cannot be read"), "cannot use its data; its own log says why"),
        (OSError(2, "No such file", PATH), "failed with FileNotFoundError; its own log says why"),
        (RuntimeError(f"CUDA error at {PATH}"), "failed with RuntimeError; its own log says why"),
        (KeyError(PATH), "failed with KeyError; its own log says why"),
        (ConfigurationError("rounds=0: must be at least 1"), "rounds=0: must be at least 1"),
        (WeightsError("another network"), "another network"),
        (ValueError("the arrays are not the client's"), "the arrays are not the client's"),
    ],
)
def test_an_error_is_told_as_far_as_it_concerns_the_server_and_logged_in_full(
    app, caplog: pytest.LogCaptureFixture, error: Exception, told: str
) -> None:
    reason = reason_of(FakeLink(1), app(raising(error)))
    assert reason == told
    assert PATH not in reason
    assert str(error) in caplog.text


@pytest.mark.parametrize("data", ["/home/ann/patients", "/home/ann"])
def test_where_the_silo_keeps_its_things_does_not_leave_it(app, data: str) -> None:
    link = FakeLink(1)
    places = {"weights": "/home/ann/w.safetensors", "data-path": data, "partition-id": 0}
    failing = app(raising(WeightsError("weights file /home/ann/w.safetensors is damaged")))
    assert Node(link, failing, places).answer_next()
    assert link.replies[0].error.reason == "weights file weights is damaged"


def test_a_signal_that_ends_the_silo_is_no_error_of_a_run(app) -> None:
    link = FakeLink(1)
    for stop in (KeyboardInterrupt(), SystemExit(143)):
        link.waiting.append(link.message(1))
        with pytest.raises(type(stop)):
            Node(link, app(raising(stop)), {}).answer_next()
    assert link.replies == []


def test_a_run_of_another_app_is_refused_without_running_anything(app) -> None:
    ran: list[Context] = []
    reason = reason_of(FakeLink(1, app_id="somebody/elses"), app(ran.append))
    assert reason == "answers runs of fedsq/fedsq-flwr only, not of somebody/elses"
    assert ran == []


def test_a_message_that_the_app_does_not_know_is_an_error_of_one_line(app) -> None:
    assert len(reason_of(FakeLink(1), ClientApp()).splitlines()) == 1


def test_a_context_has_the_silos_settings_and_the_runs(app) -> None:
    seen: list[Context] = []
    link = FakeLink(3)
    Node(link, app(seen.append), {"partition-id": 2, "data-path": "/data"}).answer_next()
    (context,) = seen
    assert (context.run_id, context.node_id) == (3, link.node_id)
    assert context.node_config == {"partition-id": 2, "data-path": "/data"}
    assert context.run_config == {"settings": "{}"}


def test_contexts_are_kept_by_run_and_only_the_newest(app) -> None:
    seen: list[Context] = []
    link = FakeLink(1, 2, 1, 2, 3, 4, 5, 5, 1)
    node = Node(link, app(seen.append), {})
    while node.answer_next():
        pass
    assert not any(reply.has_error() for reply in link.replies)
    assert [context.run_id for context in seen] == [1, 2, 1, 2, 3, 4, 5, 5, 1]
    assert seen[0].state is seen[2].state
    assert seen[0].state is not seen[1].state
    assert link.runs_asked == [1, 2, 3, 4, 5, 1]  # the first run's context made room for the fifth's
    assert seen[8].state is not seen[0].state


def test_without_a_message_there_is_nothing_to_answer(app) -> None:
    link = FakeLink()
    assert not Node(link, app(lambda _: None), {}).answer_next()
    assert link.replies == []


class Ending(FakeLink):
    """A link whose runs are over at one step, and that then no longer takes the silo."""

    def __init__(self, step: str) -> None:
        super().__init__(1)
        self.step = step
        self.looks = 0

    def over(self, step: str) -> None:
        if self.step == step:
            raise RunOverError

    def receive(self) -> Message | None:
        self.looks += 1
        if self.looks == 3:
            raise RunFailedError("no longer knows this silo")
        self.over("receive")
        return super().receive()

    def run(self, run_id: int) -> Run:
        self.over("run")
        return super().run(run_id)

    def send(self, reply: Message, seconds: float) -> bool:
        self.over("send")
        return super().send(reply, seconds)


@pytest.mark.parametrize("step", ["receive", "run", "send"])
def test_a_run_that_is_over_ends_nothing_but_itself(
    app, step: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    pauses: list[float] = []
    monkeypatch.setattr(node_module.time, "sleep", pauses.append)
    link = Ending(step)
    with pytest.raises(RunFailedError, match="no longer knows this silo"):
        Node(link, app(lambda _: None), {}).serve()
    assert link.looks == 3
    assert link.replies == []
    assert "the run has ended before the silo was done" in caplog.text
    assert "Traceback" not in caplog.text
    assert len(pauses) == 2  # a proxy that refuses everything is not asked without end


def test_a_superlink_that_refuses_the_silo_ends_it_and_is_sent_nothing(app) -> None:
    class Refusing(FakeLink):
        def run(self, run_id: int) -> Run:
            raise RunFailedError("superlink=a:1: refuses this silo")

    link = Refusing(1)
    with pytest.raises(RunFailedError, match="refuses this silo"):
        Node(link, app(lambda _: None), {}).answer_next()
    assert link.replies == []
