"""Which structure is in force in which round: the pretrained one, a later global model, or none.

The source keeps the pretrained structure for good. The three departures from it are our ablations, and
they combine: frozen after round k, refreshed every R rounds, released after round k, at once or by and by.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class StructureSchedule:
    """A plan of structures over rounds; with all zeros, the start's structure stays in force.

    Attributes
    ----------
    freeze_after : int
        In the first so many rounds the network has its own ReLUs; then the global model becomes the
        structure.
    refresh_every : int
        After every so many rounds (counted from `freeze_after`) the global model becomes the structure.
    release_after : int
        After so many rounds the network goes on with its own ReLUs.
    release_over : int
        Rounds in between, in which the share of the fixed gates falls, see `share`; 0: released at once.
    """

    freeze_after: int = 0
    refresh_every: int = 0
    release_after: int = 0
    release_over: int = 0

    def source(self, server_round: int) -> int | None:
        """Return the round whose averaged model is the structure of ``server_round``.

        A round is trained and evaluated under one structure; what changes, changes between rounds.

        Returns
        -------
        int or None
            0 for the structure of the start, None where the ReLUs are the network's own.
        """
        if server_round <= self.freeze_after or 0 < self.release_after < server_round - self.release_over:
            return None
        if self.refresh_every == 0:
            return self.freeze_after
        finished = server_round - 1 - self.freeze_after
        return self.freeze_after + finished // self.refresh_every * self.refresh_every

    def share(self, server_round: int) -> float:
        """Return how much of each activation the fixed gates decide in ``server_round``.

        Returns
        -------
        float
            1 until `release_after`, then less by equal steps in each of the `release_over` rounds; what the
            gates do not decide, the network's own ReLUs do. 0 once it is released, or before it is frozen.
        """
        if self.source(server_round) is None:
            return 0.0
        past = server_round - self.release_after
        return 1.0 - past / (self.release_over + 1) if self.release_after and past > 0 else 1.0
