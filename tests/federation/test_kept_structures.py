"""Structures that were sent are kept by their fingerprint, on disk or in the context, and never mistaken."""

import errno
import os
import re

import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp.strategy import FedAvg

from fedsq_flwr import DualCopy, FedSQ
from fedsq_flwr.errors import WeightsError
from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.federation import answer_query
from fedsq_flwr.federation.arrays import to_arrays, to_shared_arrays
from fedsq_flwr.federation.distribution import StructureDistribution
from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.federation.packing import pack
from fedsq_flwr.federation.structures import KEPT_ON_DISK, ContextStructures, DiskStructures
from tests.federation.silos import network
from tests.federation.toys import FINGERPRINT, sampling, toy_app


def context() -> Context:
    return Context(1, 1, {"partition-id": 0, "num-partitions": 1}, RecordDict(), {})


def state(value: float) -> dict[str, torch.Tensor]:
    return {"a.weight": torch.full((2, 3), value), "a.bias": torch.tensor([value])}


@pytest.fixture(params=["disk", "context"])
def structures(request, tmp_path):
    return DiskStructures(tmp_path / "kept") if request.param == "disk" else ContextStructures(context())


def test_what_was_kept_comes_back_to_the_bit(structures):
    assert structures.load("ab12") is None
    structures.keep("ab12", state(0.1))
    back = structures.load("ab12")
    assert {name: tensor.tolist() for name, tensor in back.items()} == {n: t.tolist() for n, t in state(0.1).items()}
    structures.discard("ab12")
    structures.discard("ab12")
    assert structures.load("ab12") is None


def test_a_disk_keeps_the_newest_few_across_processes(tmp_path):
    for number in range(KEPT_ON_DISK + 2):
        DiskStructures(tmp_path).keep(f"f{number}", state(number))
    kept = DiskStructures(tmp_path)
    assert [kept.load(f"f{number}") is not None for number in range(KEPT_ON_DISK + 2)] == [
        *[False, False],
        *[True] * KEPT_ON_DISK,
    ]


def test_what_was_kept_last_stays_though_the_clock_was_put_back(tmp_path):
    structures = DiskStructures(tmp_path)
    for number in range(KEPT_ON_DISK):
        structures.keep(f"f{number}", state(number))
        os.utime(tmp_path / f"f{number}.safetensors", (2**33 + number,) * 2)
    structures.keep("ab12", state(1))
    assert [file.stem for file in sorted(tmp_path.iterdir())] == ["ab12", *(f"f{n}" for n in range(1, KEPT_ON_DISK))]


@pytest.mark.parametrize("spoil", [lambda d: d[: len(d) // 2], lambda d: d[:-1] + bytes([d[-1] ^ 1]), lambda d: b""])
def test_a_damaged_file_counts_as_none_and_is_removed(tmp_path, spoil):
    structures = DiskStructures(tmp_path)
    structures.keep("ab12", state(1))
    (file,) = tmp_path.iterdir()
    file.write_bytes(spoil(file.read_bytes()))
    assert structures.load("ab12") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../escape", "a/b", "", ".."])
def test_a_name_that_leads_out_of_the_directory_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="must be hexadecimal digits"):
        DiskStructures(tmp_path / "kept").keep(name, state(1))
    assert not (tmp_path / "escape.safetensors").exists()


def test_a_structure_under_a_wrong_name_is_forgotten_when_it_shows(tmp_path):
    model, other = DualCopy(network()), DualCopy(network())
    structures = DiskStructures(tmp_path)
    with torch.no_grad():
        other.structural.get_submodule("1").weight.add_(1)
    structures.keep("ab" * 32, other.structural_state())
    memory = SiloMemory(context(), DualCopy(network()), structures)
    memory.load_structure(model, "ab" * 32)
    assert model.fingerprint != "ab" * 32
    assert structures.load("ab" * 32) is None


def test_a_structure_of_another_network_is_forgotten_and_not_loaded(tmp_path):
    model = DualCopy(network())
    before, structures = model.fingerprint, DiskStructures(tmp_path)
    structures.keep("cd" * 32, state(1))
    SiloMemory(context(), DualCopy(network()), structures).load_structure(model, "cd" * 32)
    assert model.fingerprint == before
    assert structures.load("cd" * 32) is None


def test_asked_first_a_silo_that_has_it_is_not_sent_it_again(tmp_path):
    """Two runs, as two servers would see them: the first hands it out, the second finds it on the disks."""
    arrays, sent = to_arrays(state(3)), []

    def app(message: Message, where: Context) -> Message:
        silo = int(where.node_config["partition-id"])
        if "structure" in message.content:
            sent.append(silo)
        return answer_query(message, where, DiskStructures(tmp_path / str(silo)))

    for expected in ([0, 1, 2], []):
        with InProcessGrid(app, silos=3) as grid:
            distribution = StructureDistribution(10, ask=True)
            nodes = list(grid.get_node_ids())
            for _ in range(2):  # a later round of the same run asks nobody
                distribution.send(grid, nodes, "ef" * 32, lambda: arrays)
            assert sent == expected
            sent.clear()
    (tmp_path / "1" / f"{'ef' * 32}.safetensors").unlink()
    with InProcessGrid(app, silos=3) as grid:
        StructureDistribution(10, ask=True).send(grid, list(grid.get_node_ids()), "ef" * 32, lambda: arrays)
    assert sent == [1]


def test_silos_of_one_process_share_the_memory_of_a_structure():
    """Else 200 silos of a ResNet-18 would keep 9 GB."""
    arrays = to_shared_arrays(state(3))
    with InProcessGrid(answer_query, silos=3) as grid:
        StructureDistribution(10, ask=True).send(grid, list(grid.get_node_ids()), "ef" * 32, lambda: arrays)
        kept = [ContextStructures(where).load("ef" * 32) for where in grid._contexts.values()]
    assert {each["a.weight"].data_ptr() for each in kept} == {arrays["a.weight"].tensor.data_ptr()}


def test_an_answer_that_says_nothing_confirms_nothing():
    with InProcessGrid(lambda message, _: Message(RecordDict(), reply_to=message), silos=2) as grid:
        distribution = StructureDistribution(10, ask=True)
        distribution.send(grid, list(grid.get_node_ids()), "ef" * 32, lambda: to_arrays(state(3)))
    assert distribution._fingerprints == {}


def test_a_silo_says_that_it_has_a_structure_only_if_it_has(tmp_path):
    structures = DiskStructures(tmp_path)

    def ask() -> dict:
        message = Message(RecordDict({"config": ConfigRecord({"fingerprint": "ab12"})}), 1, "query")
        message.metadata.__dict__["_message_id"] = "1"
        return dict(answer_query(message, context(), structures).content["config"])

    with InProcessGrid(lambda *_: None, silos=1):  # gives messages a sender
        assert "fingerprint" not in ask()
        structures.keep("ab12", state(1))
        assert ask()["fingerprint"] == "ab12"


#: What a disk may say to a silo that stores a structure.
FULL = {
    "full": (errno.ENOSPC, "No space left on device"),
    "over quota": (errno.EDQUOT, "Disk quota exceeded"),
    "read-only": (errno.EROFS, "Read-only file system"),
    "not for this user": (errno.EACCES, "Permission denied"),
}


@pytest.mark.parametrize("kind", FULL)
def test_a_structure_that_cannot_be_stored_is_told_with_the_reason_and_without_the_place(tmp_path, monkeypatch, kind):
    code, words = FULL[kind]

    def refuse(descriptor):
        raise OSError(code, words, str(tmp_path / "Mueller_Anna_1970"))

    monkeypatch.setattr("fedsq_flwr.models.weights.os.fsync", refuse)
    with pytest.raises(WeightsError) as caught:
        DiskStructures(tmp_path).keep("ab12", state(1))
    assert str(caught.value) == f"cannot store the structure in state_dir: {words}"
    assert list(tmp_path.iterdir()) == []  # no half file either


def test_a_silo_that_cannot_store_the_structure_is_named_with_the_reason_and_the_others_go_on(tmp_path, arrays):
    (tmp_path / "1").write_text("a file is in the way of the folder")
    start, app = arrays, toy_app()
    train = app._registered_funcs["train.default"]

    def kept_of(where: Context) -> DiskStructures:
        return DiskStructures(tmp_path / str(where.node_config["partition-id"]))

    def serve(message: Message, where: Context) -> Message:
        if message.metadata.message_type == "query":
            return answer_query(message, where, kept_of(where))
        if kept_of(where).load(FINGERPRINT) is None:
            raise ValueError("refuses: the server's structural fingerprint is another")
        return train(message, where)

    with InProcessGrid(serve, silos=3) as grid:
        strategy = FedSQ(
            FedAvg(**sampling(3)),
            fingerprint=FINGERPRINT,
            structure=lambda _: to_arrays(state(3)),
            ask_for_structure=True,
        )
        for number in (1, 2):
            messages = strategy.configure_train(number, start, ConfigRecord(), grid)
            strategy.aggregate_train(number, grid.send_and_receive(messages))
            assert sorted(strategy.training.metrics) == [0, 2]
            told = (
                r"did not take the structure: cannot store the structure in state_dir: (File exists|Not a directory)"
            )
            assert re.fullmatch(told, strategy.training.dropped[1])
        (tmp_path / "1").unlink()  # the disk is mended: the silo is sent the structure again
        messages = strategy.configure_train(3, start, ConfigRecord(), grid)
        strategy.aggregate_train(3, grid.send_and_receive(messages))
        assert sorted(strategy.training.metrics) == [0, 1, 2]


def test_a_structure_of_another_network_or_size_is_not_kept(tmp_path):
    structures = DiskStructures(tmp_path)

    def send(record) -> None:
        content = RecordDict({"structure": record, "config": ConfigRecord({"fingerprint": "ab12"})})
        answer_query(Message(content, 1, "query"), context(), structures, expected=lambda: state(0))

    with InProcessGrid(lambda *_: None, silos=1):  # gives messages a sender
        for other in (
            to_arrays(state(1)),
            pack({"a.weight": torch.zeros(2, 3)}),
            pack({**state(1), "b": torch.zeros(9)}),
        ):
            with pytest.raises(ValueError, match=r"not packed|not as in this network"):
                send(other)
        assert list(tmp_path.iterdir()) == []
        send(pack(state(1)))
    assert structures.load("ab12") is not None
