"""The two loops that a strategy must be right under: Flower's own, and ours."""

import pytest
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Strategy

from fedsq_flwr.federation.rounds import run_rounds


def flowers_loop(strategy: Strategy, grid, arrays: ArrayRecord, rounds: int = 1) -> ArrayRecord:
    return strategy.start(grid, arrays, num_rounds=rounds).arrays


def our_loop(strategy, grid, arrays: ArrayRecord, rounds: int = 1) -> ArrayRecord:
    *_, last = run_rounds(
        strategy, grid, arrays, first=1, last=rounds, timeout=5, enter=lambda _: None, evaluate=lambda _: {}
    )
    return last.arrays


def everywhere(alone, whole) -> pytest.MarkDecorator:
    """Parametrise with ``make, loop``: the layer alone and FedSQ as a whole, each under the loops that take it."""
    return pytest.mark.parametrize(
        ("make", "loop"),
        [
            pytest.param(alone, flowers_loop, id="alone, Flower's loop"),
            pytest.param(whole, flowers_loop, id="FedSQ, Flower's loop"),
            pytest.param(whole, our_loop, id="FedSQ, our loop"),
        ],
    )


both_loops = pytest.mark.parametrize("loop", [flowers_loop, our_loop])
