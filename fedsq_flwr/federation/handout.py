"""The structure that came into force during a run, handed to each silo that does not have it yet.

This is the one exception to "structural tensors are in no message": the pretrained structure is every
silo's own, a later one only the server has. A silo is sent it once, before the first message of a round
that needs it, and keeps it.
"""

import logging
from collections.abc import Callable, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsq_flwr.federation.messages import CONFIG, FINGERPRINT, STRUCTURE, count_bytes

log = logging.getLogger(__name__)


class Handout:
    """Remembers which node has which structure.

    Parameters
    ----------
    timeout : float
        Seconds to wait for the answers.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._fingerprints: dict[int, str] = {}  # node id -> the structure that it said it keeps

    def send(
        self, grid: Grid, nodes: Sequence[int], fingerprint: str, structure: Callable[[], ArrayRecord | None]
    ) -> tuple[int, int]:
        """Send the structure to those of ``nodes`` that have not confirmed it; return the bytes down and up.

        Nothing is sent where ``structure`` returns None: every silo has it from the start, or there is none.
        A silo that does not confirm it is not left out here: it refuses the message that follows, by name.
        """
        lacking = [node for node in nodes if self._fingerprints.get(node) != fingerprint]
        arrays = structure() if lacking else None
        if arrays is None:
            return 0, 0
        name = ConfigRecord({FINGERPRINT: fingerprint})
        down = [Message(RecordDict({STRUCTURE: arrays, CONFIG: name}), n, MessageType.QUERY) for n in lacking]
        up = list(grid.send_and_receive(down, timeout=self.timeout))
        for reply in up:
            node = reply.metadata.src_node_id
            if reply.has_error():
                log.warning("node %d did not take the structure: %s", node, reply.error.reason)
            elif reply.content.config_records[CONFIG].get(FINGERPRINT) == fingerprint:
                self._fingerprints[node] = fingerprint
        return count_bytes(down), count_bytes(up)

    def forget(self, node: int) -> None:
        """Send ``node`` the structure again when it is next asked: it failed, and may have lost what it kept."""
        self._fingerprints.pop(node, None)
