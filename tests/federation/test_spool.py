"""What waits on disk comes back to the bit, and takes no memory and leaves no file."""

import copy
import tempfile
import weakref

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation import spool
from fedsq_flwr.federation.arrays import TensorArray, is_shared, to_arrays, to_shared_arrays
from fedsq_flwr.federation.spool import EarlyReplies, Models, SpooledRecord
from fedsq_flwr.flower_internals import send_messages_as

STATE = {
    "b": torch.tensor([1.5, float("nan"), -0.0]),
    "half": torch.arange(5, dtype=torch.float16),
    "brain": torch.arange(7).to(torch.bfloat16),
    "count": torch.tensor(7),
    "empty": torch.zeros(0, 3),
    "flag": torch.tensor([True, False]),
    "w": torch.randn(3, 2, 2).transpose(0, 2),
}


def plain():
    return to_arrays({name: tensor for name, tensor in STATE.items() if name != "brain"})


def strange():
    """Arrays as a hostile silo may send them: what they say of themselves is checked later."""
    record = plain()
    record["b"].shape, record["b"].dtype = "three", "object"
    record["w"].data = b""
    record["count"].data = [1, 2]
    return record


def same(one: ArrayRecord, other: ArrayRecord) -> bool:
    def told(array: Array):
        bits = array.tensor.reshape(-1).view(torch.uint8).tolist() if isinstance(array, TensorArray) else array.data
        return type(array), array.dtype, array.shape, array.stype, bits

    return {name: told(array) for name, array in one.items()} == {name: told(array) for name, array in other.items()}


@pytest.mark.parametrize(
    "record", [to_shared_arrays(STATE), plain(), strange(), ArrayRecord()], ids=["shared", "plain", "strange", "none"]
)
def test_a_stored_record_is_loaded_as_it_was(record):
    stored = SpooledRecord(record)
    assert list(stored.load()) == list(record)
    assert same(stored.load(), record)


def reply(number: int, arrays: ArrayRecord) -> Message:
    send_messages_as(1, 1)
    question = Message(RecordDict(), 1000 + number, "train")
    question.metadata.__dict__["_message_id"] = str(number)
    records = {"arrays": arrays, "metrics": MetricRecord({"n": number}), "config": ConfigRecord({"n": number})}
    return Message(RecordDict(records), reply_to=question)


def test_early_replies_are_given_back_whole_and_those_beyond_the_memory_are_untouched():
    given = [reply(number, to_shared_arrays({"w": torch.full((4,), number)})) for number in range(12)]
    before, early = [copy.copy(each.content["arrays"]["w"]) for each in given], EarlyReplies()
    for number, each in enumerate(given):
        early.put(number, each)
    assert 11 in early
    assert early.places() == list(range(12))
    for number in reversed(range(12)):
        found = early.pop(number)
        assert found.metadata.src_node_id == 1000 + number
        assert found.content["metrics"]["n"] == found.content["config"]["n"] == number
        assert same(found.content["arrays"], to_shared_arrays({"w": torch.full((4,), number)}))
    assert early.places() == []
    assert [each.content["arrays"]["w"].tensor is kept.tensor for each, kept in zip(given, before, strict=True)]


def test_models_beyond_the_budget_are_on_disk_and_an_old_one_makes_room(monkeypatch):
    one = to_shared_arrays({"w": torch.ones(100)})
    monkeypatch.setattr(spool, "MODELS_IN_MEMORY", 2 * one["w"].data_bytes)
    models = Models()
    for number in (3, 1, 2):
        models[number] = to_shared_arrays({"w": torch.full((100,), float(number))})
    kept = dict(models._models)
    assert [isinstance(kept[number], SpooledRecord) for number in (3, 1, 2)] == [False, False, True]
    assert sorted(models) == [1, 2, 3]
    assert [float(models[number]["w"].tensor.sum()) for number in (1, 2, 3)] == [100, 200, 300]
    models[3] = one
    assert isinstance(models._models[3], ArrayRecord)
    assert is_shared(models[2])


def test_a_full_disk_is_told_in_one_line(monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(RunFailedError, match="cannot be written: No space left on device"):
        SpooledRecord(plain())


def test_memory_does_not_grow_with_the_replies_that_come_early(monkeypatch, tmp_path):
    """Of forty, all before the first one's turn, eight stay in memory; the files have no names."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    early, alive = EarlyReplies(), []
    for number in range(40):
        arrays = to_shared_arrays({"w": torch.full((1000,), float(number))})
        alive.append(weakref.ref(arrays["w"]))
        early.put(number, reply(number, arrays))
        del arrays
    assert sum(array() is not None for array in alive) == spool.EARLY_IN_MEMORY
    assert not list(tmp_path.iterdir())
    assert [float(early.pop(number).content["arrays"]["w"].tensor[5]) for number in range(40)] == list(range(40))
