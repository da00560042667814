"""The files of a run as it leaves them, without the run."""

from pathlib import Path
from typing import Any

from fedsq_flwr.files import check_as, write_as_json
from fedsq_flwr.records.config import write_config
from fedsq_flwr.records.history import HISTORY, History, Line, line_text
from fedsq_flwr.records.summary import LAYOUT, SUMMARY, Summary
from fedsq_flwr.settings.partition_file import PARTITION, PartitionFile
from fedsq_flwr.settings.run import RunSettings

DIGITS = RunSettings.parse({"experiment": "digits", "silos": 2, "rounds": 3})


def line(number: int = 1, **changes: Any) -> Line:
    """Return a round with what every history has of it."""
    told = {"round": number, "train_loss": 1.0, "loss": 1.0, "accuracy": 0.5, "test_accuracy": 0.25}
    return check_as(Line, {**told, "seconds": 2.0, "replies": 2, **changes}, "a line")


def summary(settings: RunSettings = DIGITS, **changes: Any) -> Summary:
    """Return the summary of a run with the settings."""
    told = {
        "schema": LAYOUT,
        "method": settings.method.name,
        "backbone": settings.backbone.name,
        "data": settings.data.name,
        "partition": settings.partition.name,
        "silos": settings.silos,
        "seed": settings.seed,
        "rounds": settings.rounds,
        "learning_rate": settings.learning_rate,
        "batch_norm": settings.batch_norm,
        "best_accuracy": 0.5,
        "rounds_to_best": 1,
        "accuracy_auc": 0.5,
        "test_accuracy": 0.25,
        "final_accuracy": 0.25,
        "per_silo": [{"silo": silo, "train": 4, "held_out": 1, "accuracy": 0.5} for silo in range(settings.silos)],
        "bytes_up": 10,
        "bytes_down": 20,
        "wall_seconds": 6.0,
        "train_seconds": 3.0,
        "fingerprint": "f" * 64,
        "versions": {"fedsq_flwr": "0.2.0"},
    }
    return check_as(Summary, {**told, **changes}, "a summary")


def partition(**changes: Any) -> PartitionFile:
    """Return a partition of ten samples of two classes among two silos."""
    told = {
        "name": "dirichlet",
        "alpha": 0.5,
        "seed": 0,
        "class_names": ["cat", "dog"],
        "validation": 3,
        "test": 4,
        "counts": [[2, 3], [4, 1]],
        "held_out": [1, 1],
        "indices": [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]],
    }
    return check_as(PartitionFile, {**told, **changes}, "a partition")


def leave_rounds(directory: Path, rounds: int) -> None:
    """Leave a run that was broken off behind some rounds."""
    (directory / "checkpoints" / "last").mkdir(parents=True, exist_ok=True)
    text = "".join(line_text(line(number)) + "\n" for number in range(1, rounds + 1))
    (directory / HISTORY).write_text(text)


def leave_run(directory: Path, settings: RunSettings, **figures: Any) -> Path:
    """Leave a finished run with the settings, and figures of its summary."""
    directory.mkdir(parents=True, exist_ok=True)
    write_config(directory / "config.yaml", settings)
    leave_rounds(directory, settings.rounds)
    write_as_json(directory / PARTITION, partition())
    write_as_json(directory / SUMMARY, summary(settings, **figures))
    return directory


def history_of(directory: Path) -> list[Line]:
    """Return the rounds of a run."""
    return History(directory / HISTORY).read()
