"""Sweeps whose runs are fakes: they leave behind what `standing` looks at, and are counted."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fedsq_flwr.config import Config
from fedsq_flwr.config.files import write_config

from fedsq_flwr.cli import main


class FakeRuns:
    """Stands in for `run_job`; ``before`` may raise for a job."""

    def __init__(self) -> None:
        self.done: list[Config] = []
        self.before: Callable[[Config], None] = lambda _: None

    def __call__(self, config: Config, overrides: Sequence[str], output: Path, console: object = None) -> float:
        config = replace(config, output=str(output))
        write_config(output / "config.yaml", config)
        leave_rounds(output, 1)
        self.before(config)
        self.done.append(config)
        finish(output, config)
        return 0.5


def leave_rounds(directory: Path, rounds: int) -> None:
    (directory / "checkpoints" / "last").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"round": number}) + "\n" for number in range(1, rounds + 1)]
    (directory / "history.jsonl").write_text("".join(lines))


def finish(directory: Path, config: Config) -> None:
    leave_rounds(directory, config.rounds)
    figures = {"rounds": config.rounds, "best_accuracy": 0.5, "rounds_to_best": 1, "test_accuracy": 0.25}
    (directory / "summary.json").write_text(json.dumps(figures))
    (directory / "report.html").touch()


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
