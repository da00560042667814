from collections.abc import Callable, Iterator

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.clientapp import ClientApp

from fedsq_flwr.executors.grid import InProcessGrid


@pytest.fixture
def make_grid() -> Iterator[Callable[..., InProcessGrid]]:
    grids = []

    def make(app: ClientApp, silos: int = 4, workers: int = 1) -> InProcessGrid:
        grids.append(InProcessGrid(app, silos=silos, workers=workers))
        return grids[-1]

    yield make
    for grid in grids:
        grid.__exit__()


@pytest.fixture
def arrays() -> ArrayRecord:
    return ArrayRecord({"w": Array(np.zeros((2, 3), np.float32)), "b": Array(np.ones(3, np.float32))})
