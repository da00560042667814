"""Runs that start from other networks and weights than the default ones."""

import torch

from fedsq_flwr.models import build_backbone
from tests.endtoend.conftest import read_history, read_summary
from tests.endtoend.test_inprocess import timeless

SQUEEZENET = ("backbone=squeezenet1_1", "backbone.weights=random", "backbone.image_size=17", "rounds=1")


def test_silos_with_dropout_give_the_same_bits_each_time(run):
    first, again = run(*SQUEEZENET, "batch_size=8", name="a"), run(*SQUEEZENET, "batch_size=8", name="b")
    assert timeless(read_history(first)) == timeless(read_history(again))
    assert read_summary(first)["weights_sha256"] == read_summary(again)["weights_sha256"]


def test_silos_with_dropout_are_not_trained_side_by_side(run, capsys):
    directory = run(*SQUEEZENET, "executor.workers=2", status=1)
    assert "executor.workers=2: must be 0 or 1 in-process for squeezenet1_1" in capsys.readouterr().err
    assert not directory.exists()


def test_a_run_from_a_checkpoint_with_another_head_records_what_was_adapted(run, tmp_path):
    network = build_backbone("resnet20", in_channels=1, classes=100, seed=3)
    path = tmp_path / "it's mine.pth"
    torch.save({"state_dict": {f"module.{n}": t for n, t in network.state_dict().items()}}, path)
    quoted = str(path).replace("'", "\\'")
    statistics = ("backbone.mean=[0.3]", "backbone.std=[0.4]")
    weights = read_summary(run(f"backbone.weights='{quoted}'", *statistics, "rounds=1"))["weights"]
    assert weights["source"] == "local file"
    assert weights["file"] == str(path)
    assert (weights["mean"], weights["std"], weights["classes"]) == ([0.3], [0.4], 100)
    assert "prefix module. removed" in weights["adapted"]


def test_weights_that_do_not_say_how_images_are_normalised_are_one_line(run, tmp_path, capsys):
    torch.save(build_backbone("resnet20", in_channels=1, classes=10, seed=3).state_dict(), tmp_path / "w.pth")
    run(f"backbone.weights={tmp_path}/w.pth", status=1)
    assert "give backbone.mean and backbone.std" in capsys.readouterr().err
