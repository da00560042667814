"""In a simulation the model and the data are in Ray's object store once, however many silos are sent them."""

import pickle
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from fedsq_flwr.apps import silo_service
from fedsq_flwr.assembly.data import load_task
from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.federation import wire
from fedsq_flwr.federation.arrays import to_arrays, to_shared_arrays, to_state
from fedsq_flwr.federation.protocol import DATA, NUM_PARTITIONS, PARTITION_ID, count_bytes
from fedsq_flwr.settings.composition import compose_settings


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


@pytest.mark.parametrize("kept_bytes", [0, 2**20], ids=["prepared in batches", "prepared at once"])
def test_the_data_are_stored_once_and_a_silo_loads_none(store: list[Any], monkeypatch, kept_bytes) -> None:
    monkeypatch.setattr("fedsq_flwr.assembly.data.KEEP_PREPARED_BYTES", kept_bytes)
    settings = compose_settings(
        ["silos=3", "data.limit=150", "backbone.weights=random", "data.held_out_fraction=0", "backbone.image_size=8"]
    )
    data = load_task(settings, 3)
    with InProcessGrid(None, silos=1) as grid:
        shared = wire.Wire(grid)
        shared.share_data(data)
        message = Message(RecordDict({"config": ConfigRecord()}), 1000, MessageType.TRAIN)
        (sent,) = shared._as_they_travel([message])
    assert len(store) == 1
    assert count_bytes([sent]) == count_bytes([message])
    pickled, values = store[0]
    assert len(pickled) < sum(each.nbytes for each in values)  # Ray shares what is not in the pickle
    sent.content[DATA] = pickle.loads(pickle.dumps(sent.content[DATA]))  # noqa: S301 - made here

    monkeypatch.setattr(silo_service, "load_task", lambda *_: pytest.fail("the data are loaded again"))
    service = silo_service.SiloService()
    for number in range(3):
        context = Context(1, 1, {PARTITION_ID: number, NUM_PARTITIONS: 3}, RecordDict(), {})
        got, has = service.data(settings, sent, context), data.of_silo(number)
        assert torch.equal(got.train.images[:], has.train.images[:])
        assert torch.equal(got.train.labels, has.train.labels)
        assert len(got.held_out) == 0
        assert got.class_names == has.class_names
        assert service.data(settings, sent, context).train is got.train
