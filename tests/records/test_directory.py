"""A run's directory as the run writes it: what a finished run leaves, and what a disk that is full does not take."""

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from flwr.app import ArrayRecord

from fedsq_flwr.data import FederatedData, LabelledImages, ServerData
from fedsq_flwr.errors import ConfigurationError, RunFailedError
from fedsq_flwr.federation.exchange import Exchange
from fedsq_flwr.federation.rounds import Round
from fedsq_flwr.learning import Evaluation
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.history import best_line
from fedsq_flwr.records.summary import read_failure, read_summary
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from tests.records.made import history_of

ACCURACIES = {1: 0.5, 2: 0.75, 3: 0.625}
TASK = ServerData(LabelledImages.none(), LabelledImages.none(), ("a", "b"))
#: As ``model.evaluate_plain`` and the fingerprint of a method without fixed gates are.
MODEL = SimpleNamespace(evaluate_plain=lambda _: None, fingerprint="")


def round_of(number: int) -> Round:
    trained = {"num-examples": 4, "train_loss": 1.0, "train_seconds": 0.5}
    return Round(
        number=number,
        arrays=ArrayRecord(),
        training=Exchange(sampled=[0, 1], metrics={0: trained, 1: trained}),
        evaluation=Exchange(sampled=[0], metrics={0: {"num-examples": 2, "loss": 0.5, "accuracy": 0.5}}),
        server={"validation": Evaluation(0.5, ACCURACIES[number], 8), "test": Evaluation(0.5, 0.25, 8)},
        bytes_up=10,
        bytes_down=20,
        seconds=2.0,
        exchange_seconds={"train": 1.0},
    )


def keep(directory: RunDirectory, number: int) -> None:
    directory.keep(round_of(number), {"w": torch.full((2,), float(number))})


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    words = ["rounds=3", "silos=2", "backbone.mean=[0.5]", "backbone.std=[0.5]", "backbone.weights=random"]
    return compose_settings([*words, "method=fedavg", f"output={tmp_path}/run"])


@pytest.fixture
def directory(settings: RunSettings) -> RunDirectory:
    made = RunDirectory(settings.output)
    assert made.open(settings, TASK).round == 1
    return made


def resumed(settings: RunSettings) -> int:
    """Return the round that the run goes on with, and run it."""
    directory = RunDirectory(settings.output)
    start = directory.open(settings.changed(resume=True), TASK)
    for number in range(start.round, 4):
        keep(directory, number)
    return start.round


def test_a_run_leaves_rounds_checkpoints_and_a_summary(settings, directory) -> None:
    for number in ACCURACIES:
        keep(directory, number)
    directory.finish(settings, TASK, MODEL, {"source": "random"})
    assert sorted(path.name for path in directory.path.iterdir()) == [
        "checkpoints", "config.yaml", "history.jsonl", "partition.json", "summary.json"
    ]  # fmt: skip
    assert (
        directory.checkpoints.load("best")[1]
        == best_line(history_of(directory.path), "accuracy")
        == directory.history.read()[1]
    )
    assert directory.checkpoints.load("last")[0]["w"].tolist() == [3.0, 3.0]
    summary = read_summary(directory.path)
    assert (summary.best_accuracy, summary.rounds_to_best, summary.accuracy_auc) == (0.75, 2, 0.625)
    assert (summary.bytes_up, summary.bytes_down, summary.train_seconds) == (30, 60, 3.0)
    told = json.loads((directory.path / "summary.json").read_text())
    promised = (
        "schema method backbone data partition silos seed rounds learning_rate batch_norm best_accuracy "
        "rounds_to_best accuracy_auc test_accuracy final_accuracy per_silo bytes_up bytes_down wall_seconds "
        "train_seconds fingerprint versions"
    )
    assert set(promised.split()) <= told.keys()
    assert (told["schema"], told["partition"], told["alpha"], told["fingerprint"]) == (1, "silos", None, "")
    assert told["per_silo"] == [
        {"silo": 0, "train": 4, "held_out": 2, "accuracy": 0.5},
        {"silo": 1, "train": 4, "held_out": None, "accuracy": None},
    ]
    assert {"python", "fedsq_flwr", "torch", "flwr"} <= told["versions"].keys()


def test_a_partition_that_this_process_made_is_kept_whole(settings, tmp_path) -> None:
    images = LabelledImages(torch.zeros(3, 1, 1, 1), torch.tensor([0, 1, 1]))
    drawn = {"name": "iid", "alpha": None, "seed": 4}
    parts = {"train": [images, images.subset([0, 1])], "held_out": [images.subset([0]), LabelledImages.none()]}
    task = FederatedData(images, images, ("a", "b"), indices=[[0, 1, 2, 3], [4, 5]], partition=drawn, **parts)
    RunDirectory(settings.output).open(settings, task)
    assert json.loads((tmp_path / "run" / "partition.json").read_text()) == {
        **drawn, "class_names": ["a", "b"], "validation": 3, "test": 3,
        "counts": [[2, 2], [1, 1]], "held_out": [1, 0], "indices": [[0, 1, 2, 3], [4, 5]],
    }  # fmt: skip


def test_another_run_is_not_written_over(settings, directory) -> None:
    keep(directory, 1)
    for asked, told in (
        (settings, "holds a run already"),
        (settings.changed(resume=True, momentum=0.5), "momentum: differs from the run in output=.*, which has 0.9;"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            RunDirectory(settings.output).open(asked, TASK)
    keep(directory, 2)
    with pytest.raises(ConfigurationError, match=r"rounds=1: .* has 2 finished rounds"):
        RunDirectory(settings.output).open(settings.changed(resume=True, rounds=1), TASK)
    assert resumed(settings) == 3


@pytest.mark.parametrize(("calls", "goes_on_with"), [(1, 2), (2, 3), (3, 3)])
def test_a_full_disk_ends_a_run_with_one_line_and_finished_rounds_are_kept(
    settings, directory, monkeypatch, calls: int, goes_on_with: int
) -> None:
    """The second round is better than the first: the last checkpoint is written, the best one, and then the line."""
    keep(directory, 1)
    sync, done = os.fsync, []

    def full(descriptor: int) -> None:
        done.append(descriptor)
        if len(done) >= calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunFailedError, match="cannot be written: No space left on device"):
            keep(directory, 2)
    assert history_of(directory.path)[0].round == 1
    assert resumed(settings) == goes_on_with
    assert [line.accuracy for line in history_of(directory.path)] == list(ACCURACIES.values())
    assert directory.checkpoints.load("best")[1].round == 2


def test_a_disk_that_takes_no_file_is_one_line(settings, directory, monkeypatch) -> None:
    for number in ACCURACIES:
        keep(directory, number)

    def read_only(path: Path, _: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "write_bytes", read_only)
    with pytest.raises(RunFailedError, match=r"summary\.json.*cannot be written: Read-only file system"):
        directory.finish(settings, TASK, MODEL, {})
    with pytest.raises(RunFailedError, match=r"config\.yaml.*cannot be written: Read-only file system"):
        RunDirectory(settings.output).open(settings.changed(resume=True), TASK)
    directory.write_failure("why the run ended")  # it says so itself; that it cannot is no other error
    assert len(history_of(directory.path)) == 3


def test_a_directory_that_cannot_be_made_is_one_line(settings, tmp_path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(RunFailedError, match="run: cannot be written: File exists"):
        RunDirectory(settings.output).open(settings, TASK)


def test_the_reason_of_a_failure_is_kept_in_one_line(tmp_path) -> None:
    RunDirectory(tmp_path / "new").write_failure("2 of 10 replies\n  were usable")
    assert read_failure(tmp_path / "new") == "2 of 10 replies were usable"
    assert read_failure(tmp_path) is None
