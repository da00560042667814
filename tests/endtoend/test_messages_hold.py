"""What travels: the quantitative copy and nothing of the structural one, counted to the byte."""

import hashlib

import pytest
from flwr.serverapp import Grid

from fedsq_flwr.assembly.model import build_model
from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.learning.sgd import SGD
from fedsq_flwr.records.config import read_config
from tests.endtoend.conftest import read_summary


@pytest.fixture
def overheard(monkeypatch):
    """Every message that crosses the grid, down and up."""
    down, up = [], []
    carry = InProcessGrid.send_and_receive

    def listen(self: Grid, messages, *, timeout=None):
        messages = list(messages)
        replies = list(carry(self, messages, timeout=timeout))
        if messages and messages[0].metadata.message_type != "query":
            down.extend(messages)
            up.extend(replies)
        return replies

    monkeypatch.setattr(InProcessGrid, "send_and_receive", listen)
    return down, up


def test_no_array_of_the_structural_copy_is_in_any_message(run, overheard):
    # Random gates, so that no structural tensor equals a quantitative one by being its start.
    directory = run("method=fedsq_random_gates")
    model = build_model(read_config(directory / "config.yaml"), 10)
    own = {name: tuple(tensor.shape) for name, tensor in model.quantitative_state().items()}
    varied = [t for t in model.structural.state_dict().values() if t.unique().numel() > 1]
    secret = {hashlib.sha256(t.numpy().tobytes()).hexdigest() for t in varied}
    assert len(varied) > 20
    down, up = overheard
    records = [r for m in [*down, *up] for r in m.content.array_records.values()]
    assert len(records) == 2 * 3 * 2 + 2 * 3  # two rounds, three silos: train down and up, evaluate down
    for record in records:
        assert {name: tuple(array.shape) for name, array in record.items()} == own
        assert not secret & {hashlib.sha256(a.numpy().tobytes()).hexdigest() for a in record.values()}


def test_no_structural_tensor_is_in_the_optimiser(run, monkeypatch):
    given = []
    make = SGD.__init__

    def watch(self, params, *args, **kwargs):
        params = list(params)
        given.append({id(p) for p in params})
        make(self, params, *args, **kwargs)

    monkeypatch.setattr(SGD, "__init__", watch)
    models = []
    monkeypatch.setattr(
        "fedsq_flwr.apps.silo_service.build_silo_model", lambda *a: models.append(build_model(*a)) or models[-1]
    )
    run("rounds=1")
    structural = {id(t) for model in models for t in model.structural.state_dict(keep_vars=True).values()}
    assert len(structural) > 20
    assert len(given) == 3
    assert all(not ids & structural for ids in given)


def test_traffic_is_the_bytes_that_the_records_hold_but_for_the_settings(run, overheard):
    """The settings are some 2 kB in each message down; their length depends on paths."""
    summary = read_summary(run())
    down, up = overheard

    def held(messages):
        total = 0
        for message in messages:
            for record in message.content.array_records.values():
                total += sum(len(array.data) + len(name) for name, array in record.items())
            for record in [*message.content.metric_records.values(), *message.content.config_records.values()]:
                counted = {key: value for key, value in record.items() if key != "settings"}
                total += sum(len(k) + (len(v) if isinstance(v, str) else 8) for k, v in counted.items())
        return total

    assert summary["bytes_down"] == held(down)
    assert summary["bytes_up"] == held(up)
    assert all(1000 < len(message.content["config"]["settings"]) < 4000 for message in down)
    assert not any("settings" in record for message in up for record in message.content.values())
    weights = sum(t.numel() * 4 for t in build_model_of(run).quantitative_state().values())
    assert summary["bytes_down"] == pytest.approx(2 * 3 * 2 * weights, rel=0.02)
    assert summary["bytes_up"] == pytest.approx(2 * 3 * weights, rel=0.02)


def build_model_of(run):
    from fedsq_flwr.settings.composition import compose_settings
    from tests.endtoend.conftest import SMALL

    return build_model(compose_settings(SMALL), 10)
