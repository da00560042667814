"""In a simulation the model is in Ray's object store once, however many silos are sent it."""

import pickle
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.federation import wire
from fedsq_flwr.federation.arrays import to_arrays, to_shared_arrays, to_state
from fedsq_flwr.federation.protocol import count_bytes


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand for Ray's object store, and for the grid of a simulation."""
    kept: list[Any] = []
    monkeypatch.setattr("ray.put", lambda value: kept.append(value) or len(kept) - 1)
    monkeypatch.setattr("ray.get", kept.__getitem__)
    monkeypatch.setattr(wire, "is_within_process", lambda _: False)
    monkeypatch.setattr(wire, "is_simulated", lambda _: True)
    return kept


@pytest.mark.parametrize("make", [to_arrays, to_shared_arrays])
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_the_model_is_stored_once_a_round_and_every_silo_gets_it(store: list[Any], make, dtype) -> None:
    state = {"w": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)}
    record = make(state)
    with InProcessGrid(None, silos=1) as grid:
        messages = [
            Message(RecordDict({"arrays": record, "config": ConfigRecord({"n": n})}), 1000, MessageType.TRAIN)
            for n in range(3)
        ]
        sent = wire.Wire(grid, dtype=dtype)._as_they_travel(messages)
    assert len(store) == 1
    received = [pickle.loads(pickle.dumps(message.content["arrays"])) for message in sent]  # noqa: S301 - made here
    assert len(store) == 1
    assert {type(record).__name__ for record in received} == {"ArrayRecord"}
    assert [message.content["config"]["n"] for message in sent] == [0, 1, 2]
    if dtype is None:
        assert count_bytes(sent) == count_bytes(messages)
        assert all(torch.equal(to_state(each)[name], state[name]) for each in received for name in state)
