"""The server's query for the ends of the audit logs: what silos tell, and which tell nothing, by name."""

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedsq_flwr.errors import PrivacyError
from fedsq_flwr.federation import answer_query
from fedsq_flwr.federation.audit_heads import answer_audit, ask_audit_heads
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.privacy.ledger import AuditHead
from tests.federation.grids import losing

HEADS = [AuditHead(lines=silo + 7, bytes=99, last=f"{silo}" * 64) for silo in range(3)]
TOLD = [AuditHead(lines=head.lines, last=head.last) for head in HEADS]


def app_of(answer=None) -> ClientApp:
    """Silos that tell the ends of their logs; ``answer`` is given in place of silo 1's."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return answer_query(message, context)

    @app.query("audit")
    def audit(message: Message, context: Context) -> Message:
        silo = int(context.node_config["partition-id"])
        reply = answer_audit(message, lambda: HEADS[silo])
        if silo == 1 and answer is not None:
            reply.content["config"] = ConfigRecord(answer)
        return reply

    return app


def ask(grid, silos: int = 3):
    registry = NodeRegistry(5)
    registry.update(grid)
    return ask_audit_heads(grid, registry, silos)


def test_each_silo_tells_the_end_of_its_log_and_one_that_is_not_there_is_away(make_grid):
    assert ask(make_grid(app_of(), silos=3), 4) == {**dict(enumerate(TOLD)), 3: "was away"}


def test_a_silo_that_does_not_answer_is_told_as_such(make_grid):
    grid = make_grid(app_of(), silos=3)
    assert ask(losing(grid, 1, told=False, kind="query.audit"))[1] == "did not answer"
    assert str(ask(losing(grid, 1, told=True, kind="query.audit"))[1]).startswith("failed: ")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"audit-lines": 0, "audit-last": "0" * 64}, "keeps no audit log"),
        ({}, "answers with no number of lines and hash"),
        ({"audit-lines": -1, "audit-last": "0" * 64}, "answers with no number of lines and hash"),
        ({"audit-lines": 1.5, "audit-last": "0" * 64}, "answers with no number of lines and hash"),
        ({"audit-lines": 3, "audit-last": "x" * 64}, "answers with no number of lines and hash"),
        ({"audit-lines": 3, "audit-last": "a" * 65}, "answers with no number of lines and hash"),
    ],
)
def test_an_answer_that_is_none_costs_that_silo_only(make_grid, answer, told):
    assert ask(make_grid(app_of(answer), silos=3)) == {0: TOLD[0], 1: told, 2: TOLD[2]}


def test_a_silo_whose_ledger_is_gone_says_so():
    def gone() -> AuditHead:
        raise PrivacyError("ledger.json: is gone")

    with pytest.raises(PrivacyError, match="is gone"):
        answer_audit(Message(RecordDict(), 1, "query.audit"), gone)
