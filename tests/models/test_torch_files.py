"""What `torch.save` wrote is read without running anything in it."""

import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models import build_backbone, load_weights, state_digest
from fedsq_flwr.models.torch_files import read_tensors

STATE = OrderedDict(build_backbone("resnet20", in_channels=1, classes=10, seed=1).state_dict())


class Trap:
    """Unpickling one of these would leave a directory behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def problem(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3, "optimizer": {"state": {}}},
        {"model": STATE, "args": {"lr": 0.1}},
        {"model": {"state_dict": STATE}},
        {"state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}},
    ],
    ids=["alone", "state_dict", "model", "both", "prefixed"],
)
def test_a_state_is_found_in_a_checkpoint(tmp_path: Path, content: object, zipped: bool, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    network = build_backbone("resnet20", in_channels=1, classes=10, seed=0)
    load_weights(network, path, head="fc")
    assert state_digest(network.state_dict()) == state_digest(STATE)


def test_parameters_that_require_gradients_become_tensors(tmp_path: Path) -> None:
    torch.save({"a": torch.nn.Parameter(torch.ones(2))}, tmp_path / "weights.pt")
    (tensor,) = read_tensors(tmp_path / "weights.pt").values()
    assert type(tensor) is torch.Tensor
    assert not tensor.requires_grad


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_no_code_is_run(tmp_path: Path, suffix: str) -> None:
    path, mark = tmp_path / f"weights{suffix}", tmp_path / "mark"
    torch.save({"state_dict": STATE, "trap": Trap(mark)}, path)
    assert "without running code" in problem(path)
    assert not mark.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "weights.pt")
    assert "without running code" in problem(tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [3, [torch.ones(1)], torch.ones(2)], ids=["a number", "a list", "a tensor"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pt")
    assert "not tensors by name" in problem(tmp_path / "weights.pt")


def test_what_is_no_tensor_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "epoch": 3}, tmp_path / "weights.pt")
    assert "'epoch' is a int, not a tensor" in problem(tmp_path / "weights.pt")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in problem(tmp_path / "weights.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@given(place=st.integers(0, 5000), flip=st.integers(1, 255), keep=st.integers(0, 5000), zipped=st.booleans())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_one_line_or_still_tensors(
    tmp_path: Path, place: int, flip: int, keep: int, zipped: bool
) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(3, 4), "b": torch.arange(3)}, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= flip
    path.write_bytes(content[:keep] if keep % 3 == 0 else content)
    try:
        assert all(isinstance(tensor, torch.Tensor) for tensor in read_tensors(path).values())
    except WeightsError as error:
        assert "\n" not in str(error)
