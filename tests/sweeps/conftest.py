"""Sweeps whose runs are fakes: they leave behind the files of a run, and are counted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.records.config import write_config
from fedsq_flwr.settings.run import RunSettings
from tests.records.made import leave_rounds, leave_run


class FakeRuns:
    """Stands in for `run_job`; ``before`` may raise for a job."""

    def __init__(self) -> None:
        self.done: list[RunSettings] = []
        self.before: Callable[[RunSettings], None] = lambda _: None

    def __call__(self, settings: RunSettings, console: object = None) -> float:
        output = Path(settings.output)
        write_config(output / "config.yaml", settings)
        leave_rounds(output, 1)
        self.before(settings)
        self.done.append(settings)
        leave_run(output, settings)
        (output / "report.html").touch()
        return 0.5


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    monkeypatch.chdir(tmp_path)
    fake = FakeRuns()
    monkeypatch.setattr("fedsq_flwr.job.run_job", fake)
    return fake


@pytest.fixture
def sweep(runs: FakeRuns) -> Callable[..., int]:
    """Call `fedsq run -m output=out` with overrides; return its exit status."""
    return lambda *overrides: main(["run", "-m", "executor=inprocess", "output=out", *overrides])
