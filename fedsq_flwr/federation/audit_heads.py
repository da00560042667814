"""At the end of a run the server asks each silo how long its audit log is, and for the hash of its last line.

What the server then holds shows whether a silo's log was cut or written anew since, even by somebody who can write to
the silo's ledger too.
"""

import logging
from collections.abc import Callable

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from pydantic import ValidationError

from fedsq_flwr.federation.asked import Asked
from fedsq_flwr.federation.contents import config_records
from fedsq_flwr.federation.faults import in_one_line
from fedsq_flwr.federation.protocol import ASK_AUDIT, AUDIT_LAST, AUDIT_LINES, CONFIG
from fedsq_flwr.federation.registry import ANSWER_SECONDS, NodeRegistry
from fedsq_flwr.privacy.ledger import AuditHead

log = logging.getLogger(__name__)

AWAY = "was away"


def answer_audit(message: Message, head: Callable[[], AuditHead]) -> Message:
    """Answer with the lines and the last hash of this silo's audit log, which has none of this answer yet.

    Raises
    ------
    FedSQError
        If ``head``, which reads the silo's ledger, does.
    """
    own = head()
    return Message(
        RecordDict({CONFIG: ConfigRecord({AUDIT_LINES: own.lines, AUDIT_LAST: own.last})}), reply_to=message
    )


def ask_audit_heads(grid: Grid, registry: NodeRegistry, silos: int) -> dict[int, AuditHead | str]:
    """Return what each of ``silos`` silos tells of its audit log, or why it tells nothing, by partition id.

    Parameters
    ----------
    grid : Grid
        Carries the messages. A silo has `ANSWER_SECONDS` to answer.
    registry : NodeRegistry
        Knows which node is which silo.
    silos : int
        How many silos there are.
    """
    found: dict[int, AuditHead | str] = dict.fromkeys(range(silos), AWAY)
    nodes = [node for node in grid.get_node_ids() if registry.knows(node)]
    messages = [Message(RecordDict(), node, ASK_AUDIT) for node in nodes]
    replies = list(grid.send_and_receive(messages, timeout=ANSWER_SECONDS)) if messages else []
    asked = Asked(messages)
    for node in nodes:
        found[registry.silo(node)] = "did not answer"
    for reply in replies:
        if (answered := asked.node(reply)) is not None:
            found[registry.silo(answered)] = _read(reply)
    for silo, told in found.items():
        if isinstance(told, str):
            log.warning("silo %d told nothing of its audit log: it %s", silo, told)
    return found


def _read(reply: Message) -> AuditHead | str:
    if reply.has_error():
        return in_one_line(f"failed: {reply.error.reason}")
    told = config_records(reply.content).get(CONFIG, ConfigRecord())
    try:
        head = AuditHead.model_validate({"lines": told.get(AUDIT_LINES), "last": told.get(AUDIT_LAST)})
    except ValidationError:
        return "answers with no number of lines and hash"
    return head if head.lines else "keeps no audit log"
