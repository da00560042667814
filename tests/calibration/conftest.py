"""Calibrations and runs whose training is a fake: an accuracy by settings, which tests may change."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsq_flwr.records.config import write_config
from fedsq_flwr.settings.run import RunSettings


class FakeRuns:
    """Stands in for `run_job`; ``accuracy`` says what a run reaches, or raises."""

    def __init__(self) -> None:
        self.done: list[RunSettings] = []
        self.accuracy: Callable[[RunSettings], float | None] = lambda _: 0.5
        self.mean: Callable[[RunSettings], float] = lambda _: 0.25

    def __call__(self, settings: RunSettings, console: object = None) -> float:
        output = Path(settings.output)
        write_config(output / "config.yaml", settings)
        best = self.accuracy(settings)
        (output / "history.jsonl").write_text("".join('{"round": 1}\n' for _ in range(settings.rounds)))
        figures = {
            "rounds": settings.rounds,
            "best_accuracy": best,
            "rounds_to_best": 1,
            "accuracy_auc": self.mean(settings),
        }
        (output / "summary.json").write_text(json.dumps({**figures, "test_accuracy": 1 / 3}))
        (output / "report.html").touch()
        self.done.append(settings)
        return 0.5


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    monkeypatch.chdir(tmp_path)
    fake = FakeRuns()
    monkeypatch.setattr("fedsq_flwr.job.run_job", fake)
    return fake
