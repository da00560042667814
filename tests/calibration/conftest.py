"""Calibrations and runs whose training is a fake: an accuracy by settings, which tests may change."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedsq_flwr.records.config import write_config
from fedsq_flwr.settings.run import RunSettings
from tests.records.made import leave_run


class FakeRuns:
    """Stands in for `run_job`; ``accuracy`` says what a run reaches, or raises."""

    def __init__(self) -> None:
        self.done: list[RunSettings] = []
        self.accuracy: Callable[[RunSettings], float | None] = lambda _: 0.5
        self.mean: Callable[[RunSettings], float] = lambda _: 0.25

    def __call__(self, settings: RunSettings, console: object = None) -> float:
        output = Path(settings.output)
        write_config(output / "config.yaml", settings)
        best, mean = self.accuracy(settings), self.mean(settings)
        chosen_by = {"select_by": settings.select_by, "best_loss": best}
        leave_run(output, settings, best_accuracy=best, accuracy_auc=mean, test_accuracy=1 / 3, **chosen_by)
        (output / "report.html").touch()
        self.done.append(settings)
        return 0.5


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    monkeypatch.chdir(tmp_path)
    fake = FakeRuns()
    monkeypatch.setattr("fedsq_flwr.job.run_job", fake)
    return fake
