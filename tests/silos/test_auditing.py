"""What the audit log says of messages: hashes of what arrived and of what left, before it leaves."""

import json
from pathlib import Path

import pytest
import torch
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedsq_flwr.federation.packing import pack
from fedsq_flwr.privacy.audit import AuditLog, verify
from fedsq_flwr.privacy.ledger import Ledger
from fedsq_flwr.silos.auditing import asked, replied
from fedsq_flwr.silos.node import Node
from tests.silos.test_node import FakeLink, raising


def message(kind: str = "train", value: float = 0.0, settings: str = "{}") -> Message:
    content = {
        "arrays": pack({"a": torch.full((3,), value)}),
        "config": ConfigRecord({"settings": settings, "server-round": 4, "fingerprint": "f" * 64}),
    }
    FakeLink(1)  # says whose message it is
    return Message(RecordDict(content), 7, kind)


def test_what_is_asked_is_named_and_hashed() -> None:
    facts = asked(message())
    assert (facts["run"], facts["kind"], facts["round"], facts["fingerprint"]) == (1, "train", 4, "f" * 64)
    assert facts == asked(message())
    assert facts["model"] != asked(message(value=1.0))["model"]
    assert facts["settings"] != asked(message(settings='{"rounds": 2}'))["settings"]
    assert "structure" not in facts


def test_a_message_that_cannot_be_read_has_a_line_too() -> None:
    odd = message()
    odd.content["arrays"] = pack({"a": torch.zeros(1)})
    odd.content["arrays"]["packed"].shape = None
    assert asked(odd) == {"run": 1, "kind": "train", "unreadable": "TypeError"}


def test_a_reason_is_written_whatever_it_holds() -> None:
    reply = Message(Error(0, "x\ud800" + "y" * 5_000), reply_to=message())
    event, facts = replied(reply, "train")
    assert event == "refused"
    assert len(facts["reason"]) == 1_000
    json.dumps(facts).encode()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"config": MetricRecord({"server-round": 1})},
        {"config": ConfigRecord({"server-round": [1, 2], "fingerprint": b"\xff", "settings": b"\x00"})},
        {"arrays": ConfigRecord({"x": "y"}), "config": ConfigRecord({"server-round": "one"})},
    ],
)
def test_whatever_a_message_holds_has_a_line(content: dict, tmp_path: Path) -> None:
    FakeLink(1)
    log = AuditLog(Ledger(tmp_path))
    log.append("asked", asked(Message(RecordDict(content), 7, "train")))
    assert verify(log.path).events == {"asked": 1}


def test_what_leaves_is_hashed() -> None:
    arrived = message()
    replies = [
        Message(RecordDict({"metrics": MetricRecord({"loss": loss})}), reply_to=arrived) for loss in (0.1, 0.1, 0.2)
    ]
    (event, first), (_, second), (_, third) = (replied(reply, "evaluate") for reply in replies)
    assert (event, first["kind"]) == ("answered", "evaluate")
    assert first == second != third
    assert first["bytes_out"] > 0


@pytest.mark.parametrize("fails", [True, False])
def test_a_node_logs_what_it_is_asked_and_what_it_replies_before_it_leaves(tmp_path: Path, fails: bool) -> None:
    log = AuditLog(Ledger(tmp_path))
    app = ClientApp()

    @app.train()
    def train(message: Message, context: object) -> Message:
        if fails:
            raising(ValueError("no such thing"))(context)
        return Message(RecordDict(), reply_to=message)

    class Link(FakeLink):
        def send(self, reply: Message, seconds: float) -> bool:
            before.append(len(log.path.read_text().splitlines()))
            return super().send(reply, seconds)

    before: list[int] = []
    Node(Link(1), app, {}, audit=log).answer_next()
    assert before == [2]
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["asked", "refused" if fails else "answered"]
    assert not fails or lines[1]["reason"] == "no such thing"


def test_no_kind_of_message_makes_a_line_that_cannot_be_read(tmp_path: Path) -> None:
    long = "query." + "a" * 70_000
    log = AuditLog(Ledger(tmp_path))
    log.append("asked", asked(message(long)))
    log.append(*replied(Message(Error(0, "no"), reply_to=message(long)), long))
    assert verify(log.path).head.lines == 2
    assert AuditLog(Ledger(tmp_path)).path == log.path  # and the silo starts again
