"""A server that sends a silo settings that no run has: refused in one line, told without a path, and forgotten."""

import json

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedsq_flwr import client_app
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import MAX_JSON
from fedsq_flwr.silos.node import Node
from tests.silos.test_node import FakeLink

#: Where a message holds the settings of its run.
CONFIG, SETTINGS = "config", "settings"
PLACE = "/data/Mueller_Anna_1970"
RUN = compose_settings(
    ["executor=silos", "data=imagefolder", "data.classes=[a,b]", "backbone.weights=random"]
).plain()


def changed(**changes: object) -> str:
    return json.dumps(RUN | changes)


class Sending(FakeLink):
    """Hands out one message with a text, or anything else, in the place of a run's settings."""

    def __init__(self, kind: str, **config: object) -> None:
        super().__init__(1)
        content = RecordDict({CONFIG: ConfigRecord(config)})
        self.waiting = [Message(content, self.node_id, kind)]


def reason_of(kind: str, **config: object) -> str:
    link = Sending(kind, **config)
    node = Node(link, client_app.app, {"partition-id": 0, "num-partitions": 2, "data-path": PLACE, "device": "cpu"})
    assert node.answer_next()
    (reply,) = link.replies
    assert reply.has_error()
    return str(reply.error.reason)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
@pytest.mark.parametrize(
    ("sent", "line"),
    [
        ("rounds=3\nhydra.searchpath=[file:///tmp]", "settings: no JSON: "),
        ("[" * 200_000, "settings: no JSON: "),
        (changed(padding="x" * MAX_JSON), "settings: "),
        ("[]", "settings: list where a JSON object is expected"),
        (changed(rouns=3), "rouns: there is no such setting"),
        (changed(hydra={"searchpath": ["/etc"]}), "hydra: there is no such setting"),
        (changed(rounds=-1), "rounds=-1: must be at least 1"),
        (changed(learning_rate="${oc.env:HOME}"), "learning_rate=${oc.env:HOME}: must be a number"),
        (changed(data={"name": "../../etc/passwd"}), "data.name=../../etc/passwd: allowed are digits, "),
        (changed(backbone=RUN["backbone"] | {"weights": "/etc/shadow"}), "backbone.weights=shadow: is a file of the"),
        (changed(backbone=RUN["backbone"] | {"weights": PLACE}), "backbone.weights=Mueller_Anna_1970: is a file of"),
        (changed(output="\x1b[2J", seed="\x1b]0;owned\x07"), "seed=]0;owned: must be a whole number"),
    ],
    ids=lambda value: value[:30],
)
def test_hostile_settings_are_refused_in_one_line(kind: str, sent: str, line: str) -> None:
    reason = reason_of(kind, **{SETTINGS: sent})
    assert reason.startswith(line)
    assert len(reason) < 500
    assert reason.isprintable()
    assert PLACE not in reason


@pytest.mark.parametrize(
    "config", [{}, {SETTINGS: ""}, {SETTINGS: b"\xff"}, {SETTINGS: 3}, {SETTINGS: [1.0]}], ids=str
)
def test_settings_that_are_missing_or_no_text_are_an_error_reply(config: dict[str, object]) -> None:
    reason = reason_of("train", **config)
    assert len(reason) < 500
    assert reason.isprintable()
