"""Policies over rounds, from the settings to the files, and resumed."""

from pathlib import Path

import pytest
import torch

from fedsq_flwr.assembly.model import build_model
from fedsq_flwr.records.checkpoints import Checkpoints
from fedsq_flwr.records.config import read_config
from fedsq_flwr.records.restoring import restore
from tests.endtoend.conftest import read_history, read_summary


def numbers(directory: Path) -> list[dict]:
    """What must be equal in a resumed run: all but clocks, and bytes (a silo is handed its structure again)."""
    return [
        {key: value for key, value in line.items() if "seconds" not in key and "bytes" not in key}
        for line in read_history(directory)
    ]


def test_a_resumed_run_goes_on_under_the_structure_that_was_in_force(run):
    plan = ("silos=2", "method.freeze_after=1", "fraction_train=0.5")
    whole, broken = run("rounds=3", *plan, name="whole"), run("rounds=2", *plan, name="broken")
    resumed = run("rounds=3", *plan, "resume=true", name="broken")
    assert resumed == broken
    assert numbers(resumed) == numbers(whole)
    assert read_summary(resumed)["weights_sha256"] == read_summary(whole)["weights_sha256"]

    fingerprints = [line["fingerprint"] for line in read_history(whole)]
    assert fingerprints == ["", fingerprints[1], fingerprints[1]]
    assert read_summary(whole)["fingerprint"] == fingerprints[1]
    (file,) = (whole / "checkpoints/last").glob("structural-*")
    assert file.name == f"structural-{fingerprints[1][:16]}.safetensors"
    model = build_model(read_config(whole / "config.yaml"), 10)
    model.load_structural_state(Checkpoints(whole / "checkpoints").load_structure("last"))
    assert model.fingerprint == fingerprints[1]


@pytest.mark.parametrize("method", ["fedsq", "fedavg"])
def test_head_first_the_body_is_the_starts_to_the_bit(run, method):
    directory = run(f"method={method}", "linear_probing_rounds=2", "rounds=2")
    state, _ = Checkpoints(directory / "checkpoints").load("last")
    start = build_model(read_config(directory / "config.yaml"), 10).quantitative_state()
    assert {name for name in start if not torch.equal(start[name], state[name])} == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("method", ["fedsq", "fedprox"])
def test_local_batch_norm_is_in_no_checkpoint_and_the_outcome_says_whose_figures_are_fair(run, pages, method, capsys):
    directory = run(f"method={method}", "batch_norm=local", "fraction_train=0.7")
    state, _ = Checkpoints(directory / "checkpoints").load("last")
    assert not any("bn" in name or "running" in name for name in state)
    assert len(state) > 10
    assert "the silos' own figures are the fair ones" in capsys.readouterr().out
    assert "The silos&#39; figures are therefore the fair ones" in (directory / "report.html").read_text()
    assert all(line["dropped"] == [] for line in read_history(directory))


def test_a_run_with_local_batch_norm_is_not_resumed(run, capsys):
    run("batch_norm=local", "rounds=1")
    run("batch_norm=local", "rounds=2", "resume=true", status=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fedsq: resume=true: not with batch_norm=local: the silos keep their batch norm")


def test_late_and_released_gates_run(run, pages):
    directory = run("method.freeze_after=1", "method.release_after=2", "rounds=3")
    lines = read_history(directory)
    assert [len(line["fingerprint"]) for line in lines] == [0, 64, 0]
    assert all(line["dropped"] == [] and line["replies"] == 3 for line in lines)
    assert "none at the end: the network" in (directory / "report.html").read_text()


@pytest.mark.parametrize("method", ["fedsq", "fedavg"])
def test_statistics_are_estimated_again_once_and_a_resumed_run_goes_on_with_them(run, method):
    plan = (f"method={method}", "method.gate_statistics=reestimated", "diagnostics=true")
    whole, broken = run("rounds=2", *plan, name="whole"), run("rounds=1", *plan, name="broken")
    resumed = run("rounds=2", *plan, "resume=true", name="broken")
    assert numbers(resumed) == numbers(whole)
    assert read_summary(resumed)["weights_sha256"] == read_summary(whole)["weights_sha256"]
    as_they_are = run("rounds=1", f"method={method}", name="pretrained")
    assert read_summary(as_they_are)["weights_sha256"] != read_summary(broken)["weights_sha256"]
    differs = read_history(whole)[0]["fingerprint"] != read_history(as_they_are)[0]["fingerprint"]
    assert differs is (method == "fedsq")
    assert restore(whole / "checkpoints/last").round == 2
    run("rounds=2", f"method={method}", "resume=true", name="broken", status=1)  # another method


def test_statistics_are_the_same_where_silos_are_sent_the_structure_and_arrays_are_packed(run):
    plan = ("rounds=1", "method.gate_statistics=reestimated")
    own, sent = run(*plan, name="own"), run(*plan, "executor.structure=sent", name="sent")
    assert read_summary(own)["fingerprint"] == read_summary(sent)["fingerprint"]
    assert read_summary(own)["weights_sha256"] == read_summary(sent)["weights_sha256"]
    rounded = run(*plan, "wire_dtype=bfloat16", name="rounded")
    assert all(line["dropped"] == [] for line in read_history(rounded))
