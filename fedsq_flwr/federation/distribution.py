"""The distribution of a structure that silos do not have from the start to those that lack it.

This is the one exception to "structural tensors are in no message". Mostly each silo has the pretrained structure of
its own; a later one only the server has. A silo is sent it once, before the first message of a round that needs it,
and keeps it.
"""

import logging
from collections.abc import Callable, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsq_flwr.federation.asked import Asked
from fedsq_flwr.federation.contents import array_records, config_records
from fedsq_flwr.federation.protocol import CONFIG, FINGERPRINT, SETTINGS, STRUCTURE

log = logging.getLogger(__name__)


class StructureDistribution:
    """Remembers which node has which structure.

    Parameters
    ----------
    timeout : float
        Seconds to wait for the answers.
    ask : bool
        Ask first whether a node has the structure: it may have kept it from an earlier run.
    """

    def __init__(self, timeout: float = 600.0, *, ask: bool = False) -> None:
        self.timeout = timeout
        self._ask = ask
        self._fingerprints: dict[int, str] = {}  # node id -> the structure that it said it keeps
        self._refusals: dict[int, str] = {}  # node id -> why it did not take the last one that it was sent

    def send(
        self,
        grid: Grid,
        nodes: Sequence[int],
        fingerprint: str,
        structure: Callable[[], ArrayRecord | None],
        settings: str | None = None,
    ) -> None:
        """Send the structure to those of ``nodes`` that have not confirmed it.

        Nothing is sent where ``structure`` returns None: every silo has it from the start, or there is none.
        A silo that does not confirm it is not left out here: it refuses the message that follows, by name; see
        `why_not`. A structure travels with the ``settings`` of the run, by which a real silo knows its size.
        """
        self._refusals = {}
        lacking = self._lacking(nodes, fingerprint)
        arrays = structure() if lacking else None
        if arrays is None:
            return
        name = ConfigRecord({FINGERPRINT: fingerprint})
        if self._ask:
            self._exchange(grid, lacking, RecordDict({CONFIG: name}))
            lacking = self._lacking(nodes, fingerprint)
        if lacking:
            log.info("the structure %s... goes to %d silos that lack it", fingerprint[:12], len(lacking))
            if settings is not None:
                name[SETTINGS] = settings
            self._exchange(grid, lacking, RecordDict({STRUCTURE: arrays, CONFIG: name}))

    def why_not(self, node: int) -> str | None:
        """Return why ``node`` did not take the structure that it was sent last; None if it did, or needed none."""
        return self._refusals.get(node)

    def forget(self, node: int) -> None:
        """Send ``node`` the structure again when it is next asked: it failed, and may have lost what it kept."""
        self._fingerprints.pop(node, None)

    def _lacking(self, nodes: Sequence[int], fingerprint: str) -> list[int]:
        return [node for node in nodes if self._fingerprints.get(node) != fingerprint]

    def _exchange(self, grid: Grid, nodes: Sequence[int], content: RecordDict) -> None:
        messages = [Message(content, node, MessageType.QUERY) for node in nodes]
        replies = list(grid.send_and_receive(messages, timeout=self.timeout))
        asked = Asked(messages)
        for reply in replies:
            node = asked.node(reply)
            if node is None:
                continue
            if reply.has_error():
                self._refusals[node] = reply.error.reason or "failed without a reason"
                log.warning("node %d did not take the structure: %s", node, self._refusals[node])
                continue
            kept = config_records(reply.content).get(CONFIG, ConfigRecord()).get(FINGERPRINT)
            if isinstance(kept, str):
                self._fingerprints[node] = kept
            elif STRUCTURE in array_records(content):
                self._refusals[node] = "did not keep the structure that it was sent"
