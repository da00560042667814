"""`fedsq run calibration=FILE`: one run, sweeps job by job, and runs in earnest."""

import json
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.records.config import read_config
from fedsq_flwr.settings.composition import compose_settings
from tests.endtoend.conftest import SMALL, few_digits

FILE = """
schema: 1
methods:
  fedsq: {learning_rate: 0.25}
  fedavg: {learning_rate: 0.125}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(FILE)
    return path


def test_a_run_is_told_the_values_and_nothing_of_the_file(file, runs):
    assert main(["run", "executor=inprocess", f"calibration={file}", "output=out", "seed=1"]) == 0
    (settings,) = runs.done
    told = ["learning_rate=0.25", "executor=inprocess", f"output={Path.cwd()}/out", "seed=1"]
    assert settings == compose_settings(told)


def test_a_sweep_uses_the_values_method_by_method(file, runs):
    words = ["run", "-m", "executor=inprocess", "output=out", f"calibration={file}", "method=fedsq,fedavg"]
    assert main(words) == 0
    assert [(c.method.name, c.learning_rate) for c in runs.done] == [("fedsq", 0.25), ("fedavg", 0.125)]
    assert main(words) == 0
    assert len(runs.done) == 2  # done, with these values


def test_a_method_without_values_ends_a_sweep_before_its_first_job(file, runs, capsys):
    words = ["run", "-m", "executor=inprocess", "output=out", f"calibration={file}", "method=fedsq,fedprox"]
    assert main(words) == 1
    assert f"calibration={file}: has no values for fedprox, only for fedsq, fedavg" in capsys.readouterr().err
    assert runs.done == []


def test_from_a_calibration_to_a_federation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few_digits(monkeypatch)
    taken = ("silos", "partition", "learning_rate", "rounds", "validation_fraction")
    small = [word for word in SMALL if not word.startswith(taken)] + ["rounds=1", "validation_fraction=0.2"]
    grid = ["learning_rate=0.02,0.05", "weight_decay=0", "linear_probing_rounds=0"]
    assert main(["calibrate", "--methods", "fedavg", "--output", "c.yaml", *small, *grid]) == 0
    assert main(["run", *small, "silos=2", "method=fedavg", "calibration=c.yaml", "output=run"]) == 0
    used = json.loads((tmp_path / "run/summary.json").read_text())["learning_rate"]
    assert used in (0.02, 0.05)
    assert read_config(tmp_path / "run/config.yaml").learning_rate == used
    assert f"fedavg:\n    learning_rate: {used}" in (tmp_path / "c.yaml").read_text()
