"""Runs in a store on the disk, read back by MLflow's client."""

from pathlib import Path

import pytest

pytest.importorskip("fedsq_flwr.trackers.mlflow")  # which is to import mlflow, under its variables
from fedsq_flwr.trackers.mlflow import MLflow, MlflowClient


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    return MlflowClient()


def test_a_run_comes_back_and_a_resumed_one_goes_on_in_it(client: MlflowClient) -> None:
    tracker = MLflow()
    name = tracker.start("a run", {"rounds": 1, "method.mu": 0.1}, None)
    tracker.round(1, {"accuracy": 0.25})
    tracker.fail("interrupted")
    assert client.get_run(name).info.status == "KILLED"

    resumed = MLflow()
    assert resumed.start("a run", {"rounds": 2, "method.mu": 0.1}, name) == name
    assert client.get_run(name).info.status == "RUNNING"
    resumed.round(2, {"accuracy": 0.5})
    resumed.finish({"summary/best_accuracy": 0.5})
    run = client.get_run(name)
    assert (run.info.run_name, run.info.status) == ("a run", "FINISHED")
    assert run.data.params == {"rounds": "1", "method.mu": "0.1"}
    assert run.data.metrics == {"accuracy": 0.5, "summary/best_accuracy": 0.5}
    assert [(m.step, m.value) for m in client.get_metric_history(name, "accuracy")] == [(1, 0.25), (2, 0.5)]


def test_runs_share_the_experiment_that_the_environment_names(client: MlflowClient, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ward")
    for name in ("one", "two"):
        MLflow().start(name, {}, None)
    experiment = client.get_experiment_by_name("ward")
    assert len(client.search_runs([experiment.experiment_id])) == 2
