"""`fedsq doctor` on what a run starts from at a silo: settings, weights, and the gates' fingerprint."""

from pathlib import Path

import pytest

from fedsq_flwr.assembly.model import build_model
from fedsq_flwr.assembly.network import random_network
from fedsq_flwr.gating import DualCopy
from fedsq_flwr.models import save_weights
from fedsq_flwr.models.torch_files import file_sha256
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.silos.checks.finding import Mark
from fedsq_flwr.silos.checks.settings import check_run, check_settings
from fedsq_flwr.silos.checks.start import check_gates, check_weights
from tests.silos.joining import silo_of


def run_at(folder: Path, *overrides: str, **settings: object) -> RunSettings:
    finding, run = check_run(silo_of(folder, **settings), overrides)
    assert run is not None, finding.found
    return run


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of a ResNet-20 with ten classes."""
    path = tmp_path / "weights.safetensors"
    network = random_network(compose_settings(["seed=7"]), 10, "start")
    save_weights(path, network.state_dict(), {})
    return path


def test_the_silos_settings_are_told_or_their_first_fault(tmp_path: Path) -> None:
    words = ["superlink=fed.example.org:9092", "silos=2", f"data_path={tmp_path}"]
    finding, silo = check_settings([*words, "silo=1"])
    assert (finding.mark, finding.found) == (Mark.OK, "silo 1 of 2, of the server fed.example.org:9092")
    assert silo is not None
    finding, silo = check_settings([*words, "silo=2"])
    assert (finding.mark, finding.found, silo) == (Mark.FAIL, "silo=2: must be 0 to 1", None)
    finding, silo = check_settings([*words, "silo=1", "device=tpu"])
    assert (finding.mark, silo) == (Mark.FAIL, None)
    assert finding.found == "device=tpu: allowed are auto, cpu, cuda, cuda:N and mps"


def test_a_runs_settings_are_those_that_hold_at_the_silo(tmp_path: Path, weights: Path) -> None:
    run = run_at(tmp_path, "data.classes=[a,b]", weights=str(weights), device="cpu")
    assert (run.data.path, run.data.classes) == (str(tmp_path), ("a", "b"))
    assert run.backbone.weights == str(weights)
    assert run.executor.name == "silos"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("rounds=0", "rounds=0: must be at least 1"),
        ("backbone.weights=/srv/x.pth", "is a file of the server's"),
        ("backbone.weights=/srv/runs/fedsq", "backbone.weights=fedsq: is a file of the server's"),
        ("backbone.weights=fedsq", "backbone.weights=fedsq: is a file of the server's"),
        ("wire=float16", "wire: is called wire_dtype since version 0.2"),
    ],
)
def test_a_run_that_this_silo_would_refuse_fails(tmp_path: Path, override: str, told: str) -> None:
    finding, run = check_run(silo_of(tmp_path), [override])
    assert (finding.mark, run) == (Mark.FAIL, None)
    assert told in finding.found


def test_weights_are_told_by_file_and_sha256_and_gates_by_fingerprint(tmp_path: Path, weights: Path) -> None:
    run = run_at(tmp_path, weights=str(weights))
    finding = check_weights(run, 2)
    assert (finding.mark, finding.found.splitlines()) == (
        Mark.OK,
        [str(weights), "sha256 of the file:", file_sha256(weights)],
    )
    servers = build_model(compose_settings([f"backbone.weights={weights}"]), 10)
    assert isinstance(servers, DualCopy)
    gates = check_gates(run, 2)
    assert gates.mark == Mark.OK
    assert gates.found.splitlines()[-1] == servers.fingerprint


def test_broken_weights_fail_with_advice(tmp_path: Path, weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:1000])
    finding = check_weights(run_at(tmp_path, weights=str(weights)), 2)
    assert finding.mark == Mark.FAIL
    assert "weights=FILE" in finding.advice


def test_a_head_that_cannot_be_kept_fails(tmp_path: Path, weights: Path) -> None:
    finding = check_weights(run_at(tmp_path, "backbone.head=keep", weights=str(weights)), 3)
    assert (finding.mark, finding.advice) == (Mark.FAIL, "")
    assert "backbone.head=keep: the pretrained head has 10 classes, the data 3" in finding.found


def test_nothing_is_pretrained_for_the_doctor(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    assert "pretrained here when a run begins" in check_weights(run, 2).found
    assert check_gates(run, 2).mark == Mark.SKIP
    assert list(tmp_path.iterdir()) == []


def test_what_the_server_sends_is_not_looked_for_here(tmp_path: Path) -> None:
    run = run_at(tmp_path, "executor.structure=sent", "backbone.weights=/srv/x.pth")
    assert "come from the server" in check_weights(run, 2).found
    assert check_gates(run, 2).found == "sent by the server, once"


def test_random_weights_and_methods_without_gates(tmp_path: Path) -> None:
    assert check_weights(run_at(tmp_path, "backbone.weights=random"), 2).found == "random, drawn from the run's seed"
    assert check_gates(run_at(tmp_path, "method=fedavg"), 2).found.startswith("none: fedavg has")
    control = ("method=fedsq_random_gates", "executor.structure=sent")
    first, second = (check_gates(run_at(tmp_path, *control, f"seed={seed}"), 2).found for seed in (0, 1))
    assert first != second
