"""The server's query for the statistics of batch norm: pooled exactly, whoever answers first; wrong sums by name."""

import logging
import math

import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, MetricRecord
from flwr.clientapp import ClientApp

from fedsq_flwr import QuantitativeCopy
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation import answer_query, answer_statistics
from fedsq_flwr.federation.arrays import to_arrays
from fedsq_flwr.federation.grid_view import GridView
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.statistics import ask_statistics
from fedsq_flwr.learning.batch_norm_moments import batch_norm_moments, running_statistics
from tests.federation.silos import client_of, network, samples

MODEL = QuantitativeCopy(network())  # one batch norm, "2", of 8 channels; an image gives one value to each


def app_of(spoil=lambda sums: None, examples=True) -> ClientApp:
    """Silos that answer; the sums of silo 1 are spoilt, and it may have named its number of samples."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        count = len(samples(int(context.node_config["partition-id"]))[1])
        return answer_query(message, context, examples=(count, count) if examples else None)

    @app.query("statistics")
    def statistics(message: Message, context: Context) -> Message:
        silo = int(context.node_config["partition-id"])
        reply = answer_statistics(client_of(QuantitativeCopy(network()), silo), message)
        if silo == 1:
            told = dict(reply.content["statistics"])
            reply.content["statistics"] = MetricRecord(spoil(told) or told)
        return reply

    return app


class Backwards(GridView):
    """A grid whose replies come last first, and whose last one never comes if so ``cut``."""

    def __init__(self, grid, cut: int = 0) -> None:
        super().__init__(grid)
        self._cut = cut

    def send_and_receive(self, messages, *, timeout=None):
        replies = list(self._grid.send_and_receive(messages, timeout=timeout))
        statistics = "statistics" in messages[0].metadata.message_type
        return list(reversed(replies[: len(replies) - self._cut])) if statistics else replies


def ask(grid, min_replies: int = 1) -> dict[str, torch.Tensor]:
    registry = NodeRegistry(5)
    nodes = registry.update(grid)
    return ask_statistics(
        grid,
        nodes,
        to_arrays(MODEL.quantitative_state()),
        ConfigRecord(),
        registry=registry,
        channels={"2": 8},
        values={"2": 1},
        min_replies=min_replies,
        max_examples=100,
        timeout=5,
    )


def expected(*silos: int) -> dict[str, torch.Tensor]:
    first, *others = (batch_norm_moments(network(), samples(silo)[0])["2"] for silo in silos)
    for other in others:
        first = first + other
    return running_statistics({"2": first})


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in found)


def test_the_sums_of_all_silos_are_pooled_in_their_order_whoever_answers_first(make_grid) -> None:
    grid = make_grid(app_of(), silos=3)
    assert same(ask(grid), expected(0, 1, 2))
    assert same(ask(Backwards(grid)), expected(0, 1, 2))
    assert same(ask(Backwards(grid, cut=1)), expected(0, 1))  # silo 2 did not answer in time


def first(value: object):
    """Put ``value`` in the place of the first of a list of sums."""
    return lambda sums: [value, *sums[1:]]


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("2:sum", first(math.nan), "not finite"),
        ("2:squares", first(math.inf), "not finite"),
        ("2:sum", first(1e300), "exceed float32"),
        ("2:squares", first(1e200), "exceed float32"),
        ("2:squares", first(-1.0), "negative variance"),
        ("2:squares", first(0.0), "negative variance"),
        ("2:sum", lambda sums: sums[1:], "of 7 values, not 8"),
        ("2:sum", lambda sums: [*sums, 0.0], "of 9 values, not 8"),
        ("2:sum", lambda sums: [1] * 8, "not 8 floating-point numbers"),
        ("2:sum", lambda sums: 3.0, "of 3.0 values"),
        ("num-examples", lambda count: count + 1, "has num-examples 13, and named 12"),
        ("num-examples", lambda count: 0, "has num-examples 0, not 1 to 100"),
        ("num-examples", lambda count: 101, "has num-examples 101, not 1 to 100"),
        ("num-examples", lambda count: 12.0, "has num-examples 12.0, not 1 to 100"),
    ],
)
def test_wrong_sums_cost_one_silo_by_name(make_grid, caplog, name, change, fault) -> None:
    grid = make_grid(app_of(lambda sums: sums.update({name: change(sums[name])})), silos=3)
    with caplog.at_level(logging.WARNING):
        assert same(ask(grid), expected(0, 2))
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith("statistics: silo 1 is left out: it has ")
    assert fault in line
    with pytest.raises(RunFailedError, match=r"2 usable replies of 3, min_replies=3 \(silo 1: has "):
        ask(grid, min_replies=3)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda sums: {k: v for k, v in sums.items() if k != "2:sum"}, "lacks sums '2:sum'"),
        (lambda sums: {**sums, "9:sum": [1.0]}, "has unknown sums '9:sum'"),
        (lambda sums: 1 / 0, "failed: "),
    ],
)
def test_sums_of_another_network_cost_one_silo_by_name(make_grid, caplog, spoil, fault) -> None:
    with caplog.at_level(logging.WARNING):
        assert same(ask(make_grid(app_of(spoil), silos=3)), expected(0, 2))
    assert fault in caplog.text


def test_a_silo_that_named_no_samples_may_be_of_any_number_that_is_allowed(make_grid) -> None:
    assert same(ask(make_grid(app_of(examples=False), silos=3)), expected(0, 1, 2))


def test_a_client_app_that_does_not_know_the_query_is_told_so(make_grid) -> None:
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return answer_query(message, context)

    with pytest.raises(
        RunFailedError, match=r"method.gate_statistics=reestimated: 0 usable replies of 2, .*statistics"
    ):
        ask(make_grid(app, silos=2))
