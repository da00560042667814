"""Shared arrays refer to tensors of the process, and look like Flower's arrays to everybody else."""

import gc
import hashlib
import pickle
import weakref

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, FedMedian
from torch import nn

from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.federation import FedSQ, FedSQClient, answer_query, answer_train
from fedsq_flwr.federation.arrays import TensorArray, is_shared, to_arrays, to_shared_arrays, to_state
from fedsq_flwr.federation.protocol import count_bytes
from fedsq_flwr.federation.rounds import run_rounds
from fedsq_flwr.federation.wire import Wire
from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.learning import TrainingSettings

TENSORS = [
    torch.arange(6.0).reshape(2, 3),
    torch.arange(6.0).reshape(2, 3).t(),
    torch.tensor(7),
    torch.zeros(0, 3),
    torch.tensor([1.5, float("nan")], dtype=torch.float64),
    torch.zeros(2, dtype=torch.float16),
]


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda tensor: f"{tuple(tensor.shape)} {tensor.dtype}")
def test_a_shared_array_is_the_plain_array_of_its_values(tensor: torch.Tensor) -> None:
    shared, plain = TensorArray(tensor), Array(tensor.contiguous().numpy())
    assert (shared.dtype, shared.shape, shared.stype) == (plain.dtype, plain.shape, plain.stype)
    assert shared.data == plain.data
    assert shared.data_bytes == len(plain.data)
    np.testing.assert_array_equal(shared.numpy(), plain.numpy())


def test_a_strategy_gets_a_copy_and_our_own_code_the_tensor() -> None:
    tensor = torch.ones(3)
    record = to_shared_arrays({"w": tensor})
    record["w"].numpy()[:] = 5
    assert torch.equal(tensor, torch.ones(3))
    assert to_state(record)["w"].data_ptr() == tensor.data_ptr()
    assert not is_shared(ArrayRecord(dict(record)))  # Flower's constructor encodes


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda tensor: f"{tuple(tensor.shape)} {tensor.dtype}")
def test_a_shared_array_that_goes_to_another_process_is_read_where_it_lies(tensor: torch.Tensor) -> None:
    """Ray lays buffers in memory that cannot be written to; torch's warning of that would fail this test."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(TensorArray(tensor), protocol=5, buffer_callback=buffers.append)
    laid = [bytes(buffer.raw()) for buffer in buffers]
    array = pickle.loads(pickled, buffers=laid)  # noqa: S301 - made here
    assert array.data == TensorArray(tensor).data
    if tensor.numel():
        assert array.tensor.data_ptr() == np.frombuffer(laid[0], np.uint8).ctypes.data


def digest(arrays: ArrayRecord) -> str:
    return hashlib.sha256(b"".join(array.data for array in arrays.values())).hexdigest()


def federation(inner, shared: bool, workers: int) -> tuple[list[str], list[int], bool]:
    """Run two rounds of four silos; return each round's model, the bytes, and whether arrays were shared."""
    torch.manual_seed(0)
    model = QuantitativeCopy(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    )
    models = [QuantitativeCopy(model.quantitative) for _ in range(4)]
    images, labels = torch.randn(4, 6, 1, 2, 2), torch.randint(3, (4, 6))
    app, sent = ClientApp(), list[weakref.ref[Array]]()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return answer_query(message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        silo = int(context.node_config["partition-id"])
        before = digest(message.content["arrays"])
        samples = images[silo], labels[silo]
        settings = TrainingSettings(epochs=1, batch_size=3, learning_rate=0.1)
        client = FedSQClient(models[silo], train=samples, held_out=samples, settings=settings, silo=silo, seed=0)
        reply = answer_train(client, message)
        assert digest(message.content["arrays"]) == before  # nobody wrote to the global model
        assert is_shared(reply.content["arrays"]) == shared
        sent.extend(map(weakref.ref, reply.content["arrays"].values()))
        return reply

    start = model.quantitative_state()
    arrays = (
        to_shared_arrays({name: tensor.clone() for name, tensor in start.items()}) if shared else to_arrays(start)
    )
    models_, bytes_, kinds = [], [], set()
    with InProcessGrid(app, silos=4, workers=workers) as grid:
        wire = Wire(grid)
        for finished in run_rounds(
            FedSQ(inner),
            wire,
            arrays,
            first=1,
            last=2,
            timeout=10,
            enter=lambda _: None,
            evaluate=lambda _: {},
            config=ConfigRecord(),
        ):
            models_.append(digest(finished.arrays))
            bytes_ += [finished.bytes_up, finished.bytes_down]
            assert [array for array in sent if array() is not None] == []  # no cycle holds a reply
            kinds.add(is_shared(finished.arrays))
    return models_, bytes_, kinds == {True}


@pytest.mark.parametrize("make", [FedAvg, FedMedian])
def test_shared_arrays_change_no_number_and_no_count_of_bytes(make) -> None:
    def sampled():
        return make(fraction_evaluate=0.0, min_available_nodes=4, min_train_nodes=4, min_evaluate_nodes=0)

    gc.disable()
    try:
        plain, plain_bytes, _ = federation(sampled(), shared=False, workers=1)
        results = [federation(sampled(), shared=True, workers=workers) for workers in (1, 2)]
    finally:
        gc.enable()
    for shared, shared_bytes, stay_shared in results:
        assert shared == plain
        assert shared_bytes == plain_bytes
        assert stay_shared


def test_bytes_are_counted_without_encoding() -> None:
    state = {"w": torch.zeros(10, 3), "b": torch.zeros(())}
    plain, shared = to_arrays(state), to_shared_arrays(state)
    messages = [
        Message(content=RecordDict({"arrays": record}), dst_node_id=1, message_type="train")
        for record in (plain, shared)
    ]
    assert count_bytes(messages[:1]) == count_bytes(messages[1:]) == plain.count_bytes()
