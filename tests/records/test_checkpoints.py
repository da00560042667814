import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models import save_weights
from fedsq_flwr.records.checkpoints import Checkpoints

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
    checkpoints.save("last", tensors, {"round": number, "accuracy": accuracy})
    loaded, line = checkpoints.load("last")
    assert line == {"round": number, "accuracy": accuracy}
    assert loaded.keys() == tensors.keys()
    assert all(loaded[n].numpy().tobytes() == tensors[n].numpy().tobytes() for n in tensors)


def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"w": torch.zeros(2)}, {"round": 1})

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("fedsq_flwr.models.weights.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        checkpoints.save("last", {"w": torch.ones(2)}, {"round": 2})
    state, line = checkpoints.load("last")
    assert line == {"round": 1}
    assert torch.equal(state["w"], torch.zeros(2))
    assert [p.name for p in checkpoints.path("last").parent.iterdir()] == ["quantitative.safetensors"]


def test_a_damaged_checkpoint_is_noticed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", {"w": torch.zeros(64)}, {"round": 1})
    content = bytearray(checkpoints.path("best").read_bytes())
    content[-5] ^= 1
    checkpoints.path("best").write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged"):
        checkpoints.load("best")


def test_other_weights_are_no_checkpoint(tmp_path):
    save_weights(Checkpoints(tmp_path).path("last"), {"w": torch.zeros(2)}, {})
    with pytest.raises(WeightsError, match="is no checkpoint"):
        Checkpoints(tmp_path).load("last")
