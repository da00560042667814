"""Tensors of every kind are loaded right or refused by name; no defect of a file passes for weights."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models import load_weights, state_digest


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def problem(path: Path, state: dict[str, object]) -> str:
    """Load in vain, and return the one line that says why; the network is left as it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(state, path)
    own = network()
    before = state_digest(own.state_dict())
    with pytest.raises(WeightsError) as caught:
        load_weights(own, path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"weights file {path}")
    assert state_digest(own.state_dict()) == before
    return str(caught.value)


def quantised(tensor: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def compressed(tensor: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tensor.to_sparse_csr()


ODD = {
    "sparse": (lambda t: t.to_sparse(), "is a sparse tensor (torch.sparse_coo)"),
    "compressed": (compressed, "is a sparse tensor (torch.sparse_csr)"),
    "meta": (lambda t: t.to("meta"), "holds no values: its device is meta"),
    "quantised": (quantised, "is quantised (torch.qint8)"),
    "complex": (lambda t: torch.complex(t, t), "is torch.complex64, not torch.float32"),
    "whole": (lambda t: t.long(), "is torch.int64, not torch.float32"),
    "bool": (lambda t: t > 0, "is torch.bool, not torch.float32"),
    "unsigned": (lambda t: t.abs().to(torch.uint16), "is torch.uint16, not torch.float32"),
    "too large": (lambda t: t.double() * 1e300, "holds values that are not finite as torch.float32"),
    "reshaped": (lambda t: t[None], "has shape (1, 3, 8), not (3, 8)"),
    "of rank 0": (lambda t: t[0, 0].clone(), "has shape (), not (3, 8)"),
    "nested": (lambda t: torch.nested.nested_tensor([t[0], t[1, :2]]), "is a nested tensor"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_tensor_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    change, told = ODD[kind]
    state = network().state_dict()
    message = problem(tmp_path / "weights.pth", {**state, "3.weight": change(state["3.weight"])})
    assert f"'3.weight' {told}" in message


@pytest.mark.parametrize("wrong", [torch.float32, torch.complex64, torch.bool])
def test_a_count_is_a_whole_number(tmp_path: Path, wrong: torch.dtype) -> None:
    state = {**network().state_dict(), "1.num_batches_tracked": torch.tensor(1).to(wrong)}
    assert f"'1.num_batches_tracked' is {wrong}, not torch.int64" in problem(tmp_path / "weights.pth", state)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_every_floating_type_becomes_the_networks_with_the_values_that_it_has(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in network().state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    own = network()
    report = load_weights(own, tmp_path / "weights.safetensors")
    assert report.converted == (str(dtype),)
    for name, tensor in own.state_dict().items():
        assert torch.equal(tensor, state[name].to(tensor.dtype))


def test_numbers_packed_in_bytes_are_refused(tmp_path: Path) -> None:
    packed = getattr(torch, "float4_e2m1fn_x2", None)
    if packed is None:
        pytest.skip("this torch has no such type")
    state = {**network().state_dict(), "3.weight": torch.zeros(3, 8, dtype=torch.uint8).view(packed)}
    assert "'3.weight' is torch.float4_e2m1fn_x2" in problem(tmp_path / "weights.pth", state)


def test_a_head_without_dimensions_is_of_another_size(tmp_path: Path) -> None:
    torch.save({**network().state_dict(), "3.weight": torch.tensor(1.0)}, tmp_path / "weights.pth")
    assert load_weights(network(), tmp_path / "weights.pth", head="3").classes is None


@pytest.mark.parametrize(
    ("variance", "told"),
    [
        ([-1.0, 1.0], "holds values below 0"),
        ([1.0, -1e-30], "holds values below 0"),
        ([0.0, 0.0], "is 0 everywhere"),
        ([-0.0, 0.0], "is 0 everywhere"),
        ([1.0, float("nan")], "holds values that are not finite"),
        ([1.0, float("inf")], "holds values that are not finite"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_variance_is_refused_by_name(
    tmp_path: Path, variance: list[float], told: str, suffix: str
) -> None:
    state = {**network().state_dict(), "1.running_var": torch.tensor(variance)}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        assert f"'1.running_var' {told}" in problem(path, state)
        return
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"'1\.running_var'"):
        load_weights(network(), path)


def test_a_channel_that_never_changes_is_none(tmp_path: Path) -> None:
    torch.save({**network().state_dict(), "1.running_var": torch.tensor([0.0, 1.0])}, tmp_path / "weights.pth")
    own = network()
    load_weights(own, tmp_path / "weights.pth")
    assert own[1].running_var.tolist() == [0, 1]
