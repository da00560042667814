"""`fedsq doctor` trains one step as a run would, on noise."""

from pathlib import Path

import pytest
import torch

from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.silos.checks import step
from fedsq_flwr.silos.checks.finding import Mark
from fedsq_flwr.silos.checks.step import check_step
from tests.silos.test_doctor_start import run_at


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=fedavg"],
        ["method=fedsq_random_gates"],
        ["executor.structure=sent"],
        ["backbone.weights=mnist"],  # which are not made for it
        ["executor.precision=bfloat16"],
        ["data.augmentation=flip_crop"],
        ["batch_norm=frozen"],
    ],
    ids=" ".join,
)
def test_a_step_is_trained_whatever_the_run(tmp_path: Path, overrides: list[str]) -> None:
    run = run_at(tmp_path, "backbone.image_size=8", "batch_size=4", *overrides, device="cpu")
    finding = check_step(run, 3)
    assert finding.mark == Mark.OK
    assert finding.found.startswith("one of 4 images of 8 px on cpu took ")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no room\nat all"), RuntimeError("no such operation"), MemoryError()]
)
def test_a_step_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(step, "train_locally", fails)
    finding = check_step(compose_settings(["executor.device=cpu"]), 2)
    assert finding.mark == Mark.FAIL
    assert finding.found.endswith(f"on cpu fails: {str(error).splitlines()[0] if str(error) else 'MemoryError'}")
    assert "device=cpu" in finding.advice


def test_a_device_that_is_not_there_fails() -> None:
    finding = check_step(compose_settings(["executor.device=cuda:99"]), 2)
    assert (finding.mark, "cuda:99" in finding.found) == (Mark.FAIL, True)
