"""Settings as a run keeps them are those that were asked for."""

from dataclasses import replace

import pytest
import torch
from fedsq_flwr.config import compose_config
from fedsq_flwr.config.files import write_config
from safetensors.torch import save_file

from fedsq_flwr.models.weight_sources import CHECKPOINT
from fedsq_flwr.sweeps.standing import OccupiedError, Standing, read_figures, standing
from tests.sweeps.conftest import finish, leave_rounds


def keep(directory, asked, **of_backbone):
    write_config(directory / "config.yaml", replace(asked, backbone=replace(asked.backbone, **of_backbone)))
    finish(directory, asked)


def test_a_path_is_kept_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").touch()
    asked = compose_config(["backbone.weights=w.safetensors"])
    keep(tmp_path, asked, weights=str(tmp_path / "w.safetensors"))
    assert standing(tmp_path, asked) is Standing.FINISHED
    keep(tmp_path, asked, weights=str(tmp_path / "other.safetensors"))
    (tmp_path / "other.safetensors").touch()
    with pytest.raises(OccupiedError, match="backbone: differs"):
        standing(tmp_path, asked)


def test_weights_of_a_run_are_kept_by_the_file_of_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in ("first", "second"):
        for place in ("best", "last"):
            (tmp_path / run / "checkpoints" / place).mkdir(parents=True)
            save_file({"bias": torch.zeros(1)}, tmp_path / run / "checkpoints" / place / CHECKPOINT)
    asked = compose_config(["backbone.weights=first"])
    job = tmp_path / "job"
    job.mkdir()
    keep(job, asked, weights=str(tmp_path / "first" / "checkpoints" / "best" / CHECKPOINT))
    for weights in ("first", "first/checkpoints/best"):
        assert standing(job, compose_config([f"backbone.weights={weights}"])) is Standing.FINISHED
    for weights in ("second", "first/checkpoints/last"):
        with pytest.raises(OccupiedError, match="backbone: differs"):
            standing(job, compose_config([f"backbone.weights={weights}"]))


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
    asked = compose_config([f"backbone.weights={weights}"])
    keep(tmp_path, asked, weights="hf:owner/name/model.safetensors@0123abc")
    if same:
        assert standing(tmp_path, asked) is Standing.FINISHED
    else:
        with pytest.raises(OccupiedError, match="backbone: differs"):
            standing(tmp_path, asked)


def test_a_finished_run_of_other_length_is_another_run(tmp_path):
    keep(tmp_path, compose_config(["rounds=2"]))
    with pytest.raises(OccupiedError, match="rounds: differs"):
        standing(tmp_path, compose_config(["rounds=3"]))


def test_a_run_asked_for_more_rounds_is_not_finished_by_its_earlier_summary(tmp_path):
    keep(tmp_path, compose_config(["rounds=2"]))
    write_config(tmp_path / "config.yaml", compose_config(["rounds=4"]))
    assert standing(tmp_path, compose_config(["rounds=4"])) is Standing.BROKEN_OFF


def test_a_damaged_summary_is_told_and_left(tmp_path):
    keep(tmp_path, compose_config([]))
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(OccupiedError, match=r"summary\.json cannot be read"):
        standing(tmp_path, compose_config([]))


def test_a_run_that_measured_nothing_has_no_best(tmp_path):
    leave_rounds(tmp_path, 1)
    (tmp_path / "summary.json").write_text('{"best_accuracy": null, "rounds_to_best": 1, "test_accuracy": null}')
    assert str(read_figures(tmp_path)["best"]) == "nan"
