import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models import save_weights
from fedsq_flwr.records.checkpoints import Checkpoints
from fedsq_flwr.records.history import line_text
from tests.records.made import line

STATES = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
    hnp.arrays("float32", hnp.array_shapes(max_dims=3, max_side=4)),
    max_size=4,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=STATES, number=st.integers(1, 1000), accuracy=st.floats(0, 1))
def test_a_checkpoint_comes_back_to_the_bit(tmp_path, state, number, accuracy):
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    checkpoints = Checkpoints(tmp_path)
    kept = line(number, accuracy=accuracy, silo_accuracies={0: accuracy})
    checkpoints.save("last", tensors, kept)
    loaded, found = checkpoints.load("last")
    assert found == kept
    assert loaded.keys() == tensors.keys()
    assert all(loaded[n].numpy().tobytes() == tensors[n].numpy().tobytes() for n in tensors)


def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"w": torch.zeros(2)}, line(1))

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("fedsq_flwr.models.weights.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        checkpoints.save("last", {"w": torch.ones(2)}, line(2))
    state, found = checkpoints.load("last")
    assert found == line(1)
    assert torch.equal(state["w"], torch.zeros(2))
    assert [p.name for p in checkpoints.path("last").parent.iterdir()] == ["quantitative.safetensors"]


def test_a_damaged_checkpoint_is_noticed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", {"w": torch.zeros(64)}, line(1))
    content = bytearray(checkpoints.path("best").read_bytes())
    content[-5] ^= 1
    checkpoints.path("best").write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged"):
        checkpoints.load("best")


def test_other_weights_are_no_checkpoint(tmp_path):
    save_weights(Checkpoints(tmp_path).path("last"), {"w": torch.zeros(2)}, {})
    with pytest.raises(WeightsError, match="is no checkpoint"):
        Checkpoints(tmp_path).load("last")


def test_what_stands_beside_the_model_is_named_and_what_older_rounds_named_is_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path, {"mean": "[0.5]"})
    for number in (1, 2):
        beside = {"w": torch.full((2,), float(number))}
        checkpoints.save("last", {"w": torch.zeros(2)}, line(number, fingerprint=64 * str(number)), beside, beside)
    structure, server = checkpoints.load_structure("last"), checkpoints.load_server("last")
    assert structure["w"].tolist() == server["w"].tolist() == [2.0, 2.0]
    names = {path.name for path in checkpoints.path("last").parent.iterdir()}
    assert names == {"quantitative.safetensors", f"structural-{16 * '2'}.safetensors", "server-2.safetensors"}
    assert checkpoints.load("last")[1] == line(2, fingerprint=64 * "2")


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"line": "{"}, "metadata, 'line': not JSON"),
        ({"line": "[" * 10_000}, "metadata, 'line': not JSON"),
        ({"line": "null"}, "'line' should be an object"),
        ({"line": '{"round": 1}'}, "metadata, 'line': the field 'train_loss' is missing"),
        ({"structure": "../../../etc/passwd"}, "'structure'"),
        ({"server": "elsewhere.safetensors"}, r"elsewhere\.safetensors does not exist"),
    ],
    ids=["cut short", "deep", "null", "too little", "elsewhere", "not there"],
)
def test_metadata_that_are_damaged_are_one_line(tmp_path, metadata, told):
    checkpoints = Checkpoints(tmp_path)
    save_weights(checkpoints.path("last"), {"w": torch.zeros(2)}, {"line": line_text(line(1)), **metadata})
    with pytest.raises(WeightsError, match=told) as caught:
        load_all(checkpoints)
    assert str(checkpoints.path("last").parent) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flipped_byte_is_one_line_or_changes_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path, {"mean": "[0.5]"})
    checkpoints.save("last", {"w": torch.zeros(2)}, line(1), server={"w": torch.zeros(1)}, history="x")
    path = checkpoints.path("last")
    whole, kept = path.read_bytes(), checkpoints.metadata("last")
    for place in range(len(whole)):
        for mask in (0x01, 0x20, 0x80):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
            try:
                load_all(checkpoints)
                assert checkpoints.metadata("last") == kept
                assert checkpoints.load("last")[0]["w"].tolist() == [0.0, 0.0]
            except WeightsError as error:
                assert "\n" not in str(error)
                assert str(tmp_path) in str(error)


@pytest.mark.parametrize("length", [0, 7, 8, 100])
def test_a_file_that_is_cut_short_is_one_line(tmp_path, length):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"w": torch.zeros(2)}, line(1))
    path = checkpoints.path("last")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load_all(checkpoints)


def load_all(checkpoints):
    checkpoints.load("last")
    checkpoints.load_structure("last")
    checkpoints.load_server("last")
