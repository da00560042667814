"""Each silo that is asked knows which structure is in force in the round, and has it."""

from collections.abc import Callable
from functools import partial

from flwr.app import ArrayRecord, ConfigRecord, Error, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedsq_flwr.federation.distribution import StructureDistribution
from fedsq_flwr.federation.layers.base import Layer
from fedsq_flwr.federation.layers.one_at_a_time import Kind
from fedsq_flwr.federation.protocol import FINGERPRINT, OWN_RELUS, SETTINGS


class StructureInForce(Layer):
    """Names the structure of a round in its messages, and distributes a structure that silos lack.

    Parameters
    ----------
    inner : Strategy
        Chooses the silos and averages.
    fingerprint : str or function of the round
        `DualCopy.fingerprint` of the structure in force; the empty string where there are no fixed gates. A function
        that returns the empty string tells the silos to use their own ReLUs in that round.
    structure : function of the round, optional
        Returns the structure in force (`DualCopy.structural_state`, as arrays) where silos do not have it from the
        start, else None.
    distribution : StructureDistribution, optional
        Sends the structure to the silos that lack it.
    """

    def __init__(
        self,
        inner: Strategy,
        fingerprint: str | Callable[[int], str] = "",
        *,
        structure: Callable[[int], ArrayRecord | None] | None = None,
        distribution: StructureDistribution | None = None,
    ) -> None:
        super().__init__(inner)
        self.fingerprint = fingerprint
        self.structure = structure
        self.distribution = StructureDistribution() if distribution is None else distribution

    def fingerprint_of(self, server_round: int) -> str:
        """Return the fingerprint of the structure in force in a round; empty without fixed gates."""
        return self.fingerprint(server_round) if callable(self.fingerprint) else self.fingerprint

    def configure(
        self, kind: Kind, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Name the structure in the messages; before they are sent, distribute it to the silos that lack it."""
        config = ConfigRecord({**config})
        fingerprint = self.fingerprint_of(server_round)
        if fingerprint:
            config[FINGERPRINT] = fingerprint
        elif callable(self.fingerprint):  # said in a word: Flower cannot count the bytes of an empty string
            config[OWN_RELUS] = True
        messages = super().configure(kind, server_round, arrays, config, grid)
        if self.structure is not None:
            nodes = [message.metadata.dst_node_id for message in messages]
            settings = str(config[SETTINGS]) if SETTINGS in config else None
            self.distribution.send(grid, nodes, fingerprint, partial(self.structure, server_round), settings)
        return messages

    def add(self, reply: Message) -> None:
        """Note that a silo whose reply is an error may have lost the structure, and say if it could not take it."""
        node = self.asked.node(reply)
        if reply.has_error() and node is not None:
            self.distribution.forget(node)
            if (reason := self.distribution.why_not(node)) is not None:
                reply.error = Error(reply.error.code, f"did not take the structure: {reason}")
        super().add(reply)
