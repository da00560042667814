"""The same seed gives the same numbers: seeded sampling, and silos in the order of their partition ids.

Flower's node ids are random in every run, its strategies sample from the global generator, and replies are summed in
the order in which they arrive.
"""

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.grid_view import GridView
from fedsq_flwr.federation.layers.base import Layer
from fedsq_flwr.federation.layers.one_at_a_time import Aggregated, Kind
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.spool import EarlyReplies
from fedsq_flwr.learning import derive_seed


class SeededOrder(Layer):
    """Lets the inner strategy see nodes, and replies, in the order of partition ids, and sample with a seed.

    Parameters
    ----------
    inner : Strategy
        Chooses the silos and averages.
    registry : NodeRegistry
        Knows which node is which silo.
    seed : int
        Seeds the choice of silos, round by round: a resumed run samples as an uninterrupted one.
    """

    def __init__(self, inner: Strategy, registry: NodeRegistry, seed: int = 0) -> None:
        super().__init__(inner)
        self.registry = registry
        self.seed = seed
        self._next = 0
        self._early = EarlyReplies[int]()

    def configure(
        self, kind: Kind, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Let the inner strategy choose among the nodes in order; return its messages in order.

        Raises
        ------
        RunFailedError
            If too few silos connect, or they do not say who they are.
        """
        view = OrderedGrid(grid, self.registry)
        with seeded_sampling(derive_seed(self.seed, "sample", kind, server_round)):
            messages = super().configure(kind, server_round, arrays, config, view)
        messages.sort(key=lambda message: self.registry.silo(message.metadata.dst_node_id))
        return messages

    def begin(self, kind: Kind, server_round: int) -> None:
        """Begin with the reply to the first message."""
        super().begin(kind, server_round)
        self._next, self._early = 0, EarlyReplies[int]()

    def add(self, reply: Message) -> None:
        """Pass ``reply`` on when its turn has come; what answers no message, or one a second time, as it comes."""
        place = self.asked.place(reply)
        if place is None or place < self._next or place in self._early:
            super().add(reply)
            return
        self._early.put(place, reply)
        while self._next in self._early:
            super().add(self._early.pop(self._next))
            self._next += 1

    def finish(self) -> Aggregated:
        """Pass on the replies that waited for some that did not come, in order."""
        for place in self._early.places():
            super().add(self._early.pop(place))
        return super().finish()


class OrderedGrid(GridView):
    """A view of a grid whose nodes come in the order of their partition ids.

    An inner strategy samples from it as from any grid. If it goes on asking for more nodes than there are, the wait
    ends with an error instead of never.
    """

    def __init__(self, grid: Grid, registry: NodeRegistry) -> None:
        super().__init__(grid)
        self._registry = registry
        self._deadline = time.monotonic() + registry.timeout

    def get_node_ids(self) -> Iterable[int]:
        """Return the connected nodes, ordered by partition id."""
        nodes = self._registry.update(self._grid)
        if time.monotonic() > self._deadline:
            raise RunFailedError(
                f"{len(nodes)} silos are connected, fewer than the inner strategy's minimum, "
                f"after {self._registry.timeout:g} seconds{self._registry.complaints}"
            )
        return nodes


@contextmanager
def seeded_sampling(seed: int) -> Iterator[None]:
    """Give the global `random`, which Flower's strategies sample from, our own seed within the block."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
