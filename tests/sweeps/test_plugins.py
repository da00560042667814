"""Sweeps by Hydra's plugins: a search by Optuna, jobs side by side by joblib. Skipped where they are missing."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.records.config import read_config
from tests.endtoend.conftest import SMALL

SIDE_BY_SIDE = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
SEARCH = ("hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=1")


@pytest.mark.filterwarnings("ignore")
def test_a_search_goes_on_after_failures_and_runs_nothing_twice(sweep, runs, capsys):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

    failed = []

    def fail_first(config):
        if not failed:
            failed.append(config.seed)
            raise RunFailedError("no")

    runs.before = fail_first
    words = (*SEARCH, "hydra.sweeper.n_trials=4", "seed=range(0,1000)")
    assert sweep(*words) == 1
    assert len(runs.done) == 3
    assert sweep(*words) == 0
    assert [config.seed for config in runs.done[3:]] == failed
    out = capsys.readouterr().out
    assert "1 finished, 3 there already" in out
    assert "best     0.500  seed=" in out
    assert "1/4  0.500" in out


@pytest.mark.slow
def test_jobs_side_by_side_do_what_is_missing(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = [*SMALL, "rounds=1", f"output={tmp_path / 'out'}", *SIDE_BY_SIDE, "learning_rate=0.02,-1", "seed=0,1"]
    first = _sweep(words)
    assert first.returncode == 1
    assert "learning_rate=-1 seed=0: learning_rate=-1: must be above 0" in first.stderr
    summaries = list((tmp_path / "out").glob("*/summary.json"))
    assert len(summaries) == 2
    shares = {read_config(path.with_name("config.yaml")).executor.workers for path in summaries}
    assert shares == {max(1, (os.cpu_count() or 1) // 2)}
    assert "2 there already, 2 failed" in _sweep(words).stdout


@pytest.mark.slow
def test_ctrl_c_ends_jobs_side_by_side(endless, tmp_path):
    os.killpg(endless.pid, signal.SIGINT)  # as a terminal does
    _, told = endless.communicate(timeout=60)
    assert endless.returncode == 130
    assert "fedsq: interrupted; finished rounds are kept, and this command goes on:\nfedsq run -m " in told
    assert not list(tmp_path.glob("out/*/failure.json"))


@pytest.mark.slow
def test_a_signal_to_the_sweep_alone_ends_its_jobs_too(endless, tmp_path):
    endless.send_signal(signal.SIGTERM)  # as a batch system or a service manager does
    endless.communicate(timeout=60)
    assert endless.returncode == 128 + signal.SIGTERM
    end = time.monotonic() + 20
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(endless.pid, 0)
            time.sleep(0.2)
    assert not list(tmp_path.glob("out/*/failure.json"))


@pytest.fixture
def endless(tmp_path):
    """Two endless jobs side by side, in a process group of their own; one of them has done a round."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = [*SMALL, "rounds=1000", f"output={tmp_path / 'out'}", *SIDE_BY_SIDE, "seed=0,1"]
    process = subprocess.Popen(_command(words), start_new_session=True, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not list(tmp_path.glob("out/*/history.jsonl")):
            time.sleep(0.2)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _sweep(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(words), capture_output=True, text=True, check=False)


def _command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "fedsq_flwr.cli", "run", "-m", *words]
