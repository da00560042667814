"""Work on a stream of its own begins after what was laid out before it, and what follows waits for it.

There is no GPU here: the streams are made of lists.
"""

import threading
from contextlib import contextmanager

import pytest
import torch

from fedsq_flwr.learning.streams import WorkerStreams

GPU = torch.device("cuda", 0)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    told: list[tuple[str, ...]] = []

    class Stream:
        def __init__(self, device: object = None, name: str = "") -> None:
            self.name = name or f"own {sum(line[0] == 'made' for line in told)}"
            if not name:
                told.append(("made", self.name))

        def wait_stream(self, other: "Stream") -> None:
            told.append((self.name, "waits for", other.name))

    @contextmanager
    def current(stream: Stream):
        told.append(("begin", stream.name))
        yield
        told.append(("end", stream.name))

    common = Stream(name="common")
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: common)
    monkeypatch.setattr(torch.cuda, "stream", current)
    return told


def test_a_thread_works_on_one_stream_between_what_comes_before_and_after(told: list[tuple[str, ...]]) -> None:
    streams = WorkerStreams()
    for _ in range(2):
        with streams.on(GPU):
            told.append(("work",))
    once = [("own 0", "waits for", "common"), ("begin", "own 0"), ("work",), ("end", "own 0")]
    once.append(("common", "waits for", "own 0"))
    assert told == [("made", "own 0"), *once, *once]


def test_each_thread_has_a_stream_of_its_own(told: list[tuple[str, ...]]) -> None:
    streams = WorkerStreams()

    def work() -> None:
        with streams.on(GPU):
            pass

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert [line for line in told if line[0] == "made"] == [("made", "own 0"), ("made", "own 1")]


def test_what_follows_waits_for_work_that_failed_too(told: list[tuple[str, ...]]) -> None:
    with pytest.raises(ZeroDivisionError), WorkerStreams().on(GPU):
        raise ZeroDivisionError
    assert told[-1] == ("common", "waits for", "own 0")


def test_other_devices_have_none(told: list[tuple[str, ...]]) -> None:
    with WorkerStreams().on(torch.device("cpu")):
        told.append(("work",))
    assert told == [("work",)]
