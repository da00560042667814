"""Devices by name, with errors that say what is allowed."""

import os

import pytest
import torch

from fedsq_flwr.learning.precision import PRECISIONS, autocast, choose_device, make_deterministic


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["cuda:99", "nope", "", "CPU", "cpu:-1", "xla", "meta", "hpu"])
def test_a_device_that_cannot_be_used_is_refused_in_one_line_that_says_what_is_allowed(name: str) -> None:
    with pytest.raises(ValueError, match="allowed are auto, cpu, cuda, mps") as caught:
        choose_device(name)
    assert str(caught.value).startswith(repr(name))
    assert "\n" not in str(caught.value)


def test_torch_is_deterministic_for_as_long_as_a_run_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        make_deterministic(True)
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        make_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_autocast_computes_in_the_precision_named(precision: str) -> None:
    a = torch.randn(4, 4)
    with autocast(torch.device("cpu"), precision):
        assert str((a @ a).dtype) == f"torch.{precision}"
    assert (a @ a).dtype == torch.float32
