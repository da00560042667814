"""How far a run came, seen from its files: settings as a run keeps them are those that were asked for."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fedsq_flwr.models.weight_sources import CHECKPOINT
from fedsq_flwr.records.config import write_config
from fedsq_flwr.records.status import OccupiedError, RunStatus, run_status, set_aside
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from tests.records.made import leave_rounds, leave_run


def keep(directory: Path, asked: RunSettings, **of_backbone: str) -> None:
    leave_run(directory, asked.changed(backbone=of_backbone))


def test_a_directory_without_a_round_holds_nothing_that_took_work(tmp_path):
    (tmp_path / "failure.json").write_text('{"error": "no such folder"}')
    assert run_status(tmp_path, compose_settings()) is RunStatus.NOTHING


def test_a_path_is_kept_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").touch()
    asked = compose_settings(["backbone.weights=w.safetensors"])
    keep(tmp_path, asked, weights=str(tmp_path / "w.safetensors"))
    assert run_status(tmp_path, asked) is RunStatus.FINISHED
    keep(tmp_path, asked, weights=str(tmp_path / "other.safetensors"))
    (tmp_path / "other.safetensors").touch()
    with pytest.raises(OccupiedError, match=r"backbone\.weights: differs from the finished run"):
        run_status(tmp_path, asked)


def test_weights_of_a_run_are_kept_by_the_file_of_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in ("first", "second"):
        for place in ("best", "last"):
            (tmp_path / run / "checkpoints" / place).mkdir(parents=True)
            save_file({"bias": torch.zeros(1)}, tmp_path / run / "checkpoints" / place / CHECKPOINT)
    job = tmp_path / "job"
    asked = compose_settings(["backbone.weights=first"])
    keep(job, asked, weights=str(tmp_path / "first" / "checkpoints" / "best" / CHECKPOINT))
    for weights in ("first", "first/checkpoints/best"):
        assert run_status(job, compose_settings([f"backbone.weights={weights}"])) is RunStatus.FINISHED
    for weights in ("second", "first/checkpoints/last"):
        with pytest.raises(OccupiedError, match=r"backbone\.weights: differs"):
            run_status(job, compose_settings([f"backbone.weights={weights}"]))


@pytest.mark.parametrize(
    ("weights", "same"),
    [
        ("hf:owner/name", True),
        ("hf:owner/name/model.safetensors", True),
        ("hf:owner/name@0123abc", True),
        ("hf:owner/name@v2", False),
        ("hf:owner/name/other.safetensors", False),
        ("hf:owner/other", False),
    ],
)
def test_weights_of_the_hub_are_kept_by_their_commit(tmp_path, weights, same):
    asked = compose_settings([f"backbone.weights={weights}"])
    keep(tmp_path, asked, weights="hf:owner/name/model.safetensors@0123abc")
    if same:
        assert run_status(tmp_path, asked) is RunStatus.FINISHED
    else:
        with pytest.raises(OccupiedError, match=r"backbone\.weights: differs"):
            run_status(tmp_path, asked)


def test_a_finished_run_of_other_length_is_another_run(tmp_path):
    leave_run(tmp_path, compose_settings(["rounds=2"]))
    with pytest.raises(OccupiedError, match="rounds: differs"):
        run_status(tmp_path, compose_settings(["rounds=3"]))


def test_a_run_asked_for_more_rounds_is_not_finished_by_its_earlier_summary(tmp_path):
    leave_run(tmp_path, compose_settings(["rounds=2"]))
    write_config(tmp_path / "config.yaml", compose_settings(["rounds=4"]))
    assert run_status(tmp_path, compose_settings(["rounds=4"])) is RunStatus.BROKEN_OFF


def test_a_run_that_is_further_than_asked_for_is_left_alone(tmp_path):
    write_config(tmp_path / "config.yaml", compose_settings(["rounds=3"]))
    leave_rounds(tmp_path, 3)
    with pytest.raises(OccupiedError, match=r"rounds=2: the unfinished run in .* has 3 already"):
        run_status(tmp_path, compose_settings(["rounds=2"]))


def test_what_cannot_be_resumed_is_lost_and_set_aside(tmp_path):
    asked = compose_settings(["batch_norm=local"])
    write_config(tmp_path / "config.yaml", asked)
    leave_rounds(tmp_path, 1)
    assert run_status(tmp_path, asked) is RunStatus.LOST
    (tmp_path / ".hydra").mkdir()
    assert set_aside(tmp_path) == tmp_path / "earlier" / "1"
    assert run_status(tmp_path, asked) is RunStatus.NOTHING
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hydra", "earlier"]
    assert run_status(tmp_path / "earlier" / "1", asked) is RunStatus.LOST
    leave_rounds(tmp_path, 1)
    assert set_aside(tmp_path) == tmp_path / "earlier" / "2"


@pytest.mark.parametrize("name", ["config.yaml", "summary.json"])
def test_a_damaged_file_is_told_and_left(tmp_path, name):
    leave_run(tmp_path, compose_settings())
    (tmp_path / name).write_text("{")
    with pytest.raises(OccupiedError, match=name):
        run_status(tmp_path, compose_settings())


def test_to_ask_for_the_status_or_to_make_a_page_loads_no_torch():
    modules = ("records.status", "records.runs", "records.trackers", "report", "commands.runs", "commands.status")
    imports = "; ".join(f"import fedsq_flwr.{module}" for module in (*modules, "report.comparison", "sweeps.job"))
    code = f"import sys; {imports}; assert not {{'torch', 'flwr', 'ray', 'matplotlib', 'scipy'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
