"""Runs that take a second: few samples, random weights. What a run leaves behind is what they look at."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsq_flwr.cli import main

#: 144 training samples over three silos; ResNet-20 from random weights.
SMALL = (
    "executor=inprocess",
    "silos=3",
    "rounds=2",
    "validation_fraction=0.9",
    "backbone.weights=random",
    "backbone.image_size=8",
    "partition.alpha=5",
    "learning_rate=0.02",
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Run `fedsq run` with small settings and overrides; return the run's directory."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides: str, name: str = "run", status: int = 0) -> Path:
        directory = tmp_path / name
        assert main(["run", *SMALL, f"output={directory}", *overrides]) == status
        return directory

    return run


def read_summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


def read_history(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
