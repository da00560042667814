"""Offline runs: what their file holds, and that it is no more than what was told."""

import os
import socket
from pathlib import Path

import pytest

pytest.importorskip("fedsq_flwr.trackers.wandb")  # which is to import wandb, under its variables
from fedsq_flwr.trackers.wandb import WandB


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def offline_runs(directory: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(directory.glob("wandb/offline-run-*/run-*.wandb"))]


def test_a_run_lies_in_its_directory_and_a_resumed_one_has_its_name(tmp_path: Path) -> None:
    tracker = WandB(tmp_path)
    name = tracker.start("a run", {"method.mu": 0.125}, None)
    tracker.round(1, {"accuracy": 0.25})
    tracker.fail("interrupted")
    resumed = WandB(tmp_path)
    assert resumed.start("a run", {"method.mu": 0.25}, name) == name
    resumed.round(2, {"accuracy": 0.75})
    resumed.finish({"summary/best_accuracy": 0.5})
    files = offline_runs(tmp_path)
    assert len(files) == 2
    told = [(b"0.125", b"accuracy", b"0.25"), (b"accuracy", b"0.75", b"summary/best_accuracy", b"0.5")]
    for file, parts in zip(files, told, strict=True):
        assert all(part in file for part in (name.encode(), *parts))


def test_nothing_of_the_machine_is_in_the_file(tmp_path: Path) -> None:
    tracker = WandB(tmp_path)
    tracker.start("a run", {}, None)
    tracker.round(1, {"accuracy": 0.25})
    tracker.finish({})
    (file,) = offline_runs(tmp_path)
    for secret in (socket.gethostname(), str(Path.cwd()), str(tmp_path), os.environ.get("USER", "no user"), "python"):
        assert len(secret) < 4 or secret.encode() not in file, secret
