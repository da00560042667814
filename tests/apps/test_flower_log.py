"""What `flwr run --stream` shows: a line a round, where the results are, and why a run failed."""

import logging
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from fedsq_flwr import client_app, server_app
from fedsq_flwr.errors import FedSQError
from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.learning.threads import torch_threads
from tests.endtoend.conftest import SMALL, few_digits


@pytest.fixture
def flwr_run(tmp_path, monkeypatch, caplog):
    """Run the server app as Flower does, with a run config; return its lines of the log."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    few_digits(monkeypatch)

    def run(overrides: str, **config) -> list[str]:
        caplog.clear()
        small = " ".join(word for word in (*SMALL, "validation_fraction=0.2") if not word.startswith("executor"))
        context = Context(1, 1, {}, RecordDict(), {"overrides": f"{small} {overrides}", **config})
        with InProcessGrid(client_app.app, silos=3) as grid, torch_threads(1):
            server_app.app(grid, context)
        return lines()

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.getMessage().startswith("fedsq: ")]

    run.lines = lines
    return run


def test_the_rounds_and_the_place_of_the_results_are_logged(flwr_run, tmp_path: Path) -> None:
    output = tmp_path / "fedsq" / "run"
    start, first, second, best, results = flwr_run("output=run method=fedavg")
    assert start == f"fedsq: fedavg for 2 rounds into {output}"
    for number, line in enumerate((first, second), start=1):
        assert line.startswith(f"fedsq: round {number}/2: train loss ")
        assert ", accuracy 0." in line
        assert line.endswith(", silos 3/3")
    assert best.startswith("fedsq: best validation accuracy 0.")
    assert results == f"fedsq: results are in {output}; the page: {output / 'report.html'}"
    assert (output / "summary.json").is_file()


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ("output=run rounds=0", "rounds=0: must be at least 1"),
        ("output=run learning_rate=1e30", "round 1: 0 usable replies of 3"),
        ("output=occupied", "holds a run already"),
    ],
    ids=["settings", "silos", "directory"],
)
def test_the_reason_of_a_failed_run_is_logged(flwr_run, tmp_path: Path, overrides: str, reason: str) -> None:
    (tmp_path / "fedsq" / "occupied").mkdir(parents=True)
    (tmp_path / "fedsq" / "occupied" / "history.jsonl").touch()
    with pytest.raises(FedSQError):
        flwr_run(overrides)
    assert reason in flwr_run.lines()[-1]
