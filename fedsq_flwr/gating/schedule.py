"""Which structure is in force in which round: the pretrained one, a later global model, or none.

FedSQ keeps the pretrained structure in all rounds. Three departures from that are our ablations, and they combine:
the structure is frozen after round k, refreshed every R rounds, or released after round k.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class StructureSchedule:
    """The structures of all rounds. With all zeros, the structure of the start stays in force.

    Attributes
    ----------
    freeze_after : int
        Number of first rounds in which the network has its own ReLUs; then the global model becomes the
        structure. 0: fixed gates from the start.
    refresh_every : int
        Number of rounds, counted from `freeze_after`, after which the global model becomes the structure, again
        and again. 0: never.
    release_after : int
        Number of rounds after which the network has its own ReLUs. 0: never.
    """

    freeze_after: int = 0
    refresh_every: int = 0
    release_after: int = 0

    def source(self, server_round: int) -> int | None:
        """Return the round whose averaged model is the structure of ``server_round``.

        A round is trained and evaluated under one structure; structures change between rounds.

        Returns
        -------
        int or None
            0 for the structure of the start, None in a round with the network's own ReLUs.
        """
        if server_round <= self.freeze_after or 0 < self.release_after < server_round:
            return None
        if self.refresh_every == 0:
            return self.freeze_after
        finished = server_round - 1 - self.freeze_after
        return self.freeze_after + finished // self.refresh_every * self.refresh_every
