"""Calibrations and runs whose training is a fake: an accuracy by settings, which tests may change."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fedsq_flwr.records.config import write_config
from fedsq_flwr.settings.run import RunSettings


class FakeRuns:
    """Stands in for `run_job`; ``accuracy`` says what a run reaches, or raises."""

    def __init__(self) -> None:
        self.done: list[tuple[RunSettings, list[str]]] = []
        self.accuracy: Callable[[RunSettings], float | None] = lambda _: 0.5
        self.mean: Callable[[RunSettings], float] = lambda _: 0.25

    def __call__(self, config: RunSettings, overrides: Sequence[str], output: Path, console: object = None) -> float:
        write_config(output / "config.yaml", replace(config, output=str(output)))
        best = self.accuracy(config)
        (output / "history.jsonl").write_text("".join('{"round": 1}\n' for _ in range(config.rounds)))
        figures = {
            "rounds": config.rounds,
            "best_accuracy": best,
            "rounds_to_best": 1,
            "accuracy_auc": self.mean(config),
        }
        (output / "summary.json").write_text(json.dumps({**figures, "test_accuracy": 1 / 3}))
        (output / "report.html").touch()
        self.done.append((config, list(overrides)))
        return 0.5


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    monkeypatch.chdir(tmp_path)
    fake = FakeRuns()
    monkeypatch.setattr("fedsq_flwr.job.run_job", fake)
    return fake
