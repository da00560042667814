"""`fedsq run -m`: a sweep does what is missing, goes on after failures, and says how each job ended."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.errors import ConfigurationError, RunFailedError
from fedsq_flwr.sweeps.progress import SweepProgress
from tests.records.made import leave_rounds


def test_a_sweep_started_again_runs_nothing(sweep, runs, capsys):
    assert sweep("seed=0,1") == 0
    assert [config.seed for config in runs.done] == [0, 1]
    assert "2 finished" in capsys.readouterr().out
    assert sweep("seed=0,1") == 0
    assert len(runs.done) == 2
    assert "2 there already" in capsys.readouterr().out


def test_a_sweep_started_again_with_more_runs_what_is_missing(sweep, runs):
    sweep("seed=0")
    sweep("seed=0,1", "executor.workers=1")
    assert [config.seed for config in runs.done] == [0, 1]


def test_jobs_are_named_by_what_differs_also_where_another_sweep_has_taken_the_name(sweep, runs):
    given = ("data.limit=40", "partition.alpha=0.1,0.5", "method=fedsq")
    assert sweep(*given, "seed=0") == sweep(*given, "seed=0,1") == sweep(*given[::-1], "seed=0") == 0
    assert [(config.partition.alpha, config.seed) for config in runs.done] == [(0.1, 0), (0.5, 0), (0.1, 1), (0.5, 1)]
    assert sweep("data.limit=50", *given[1:], "seed=0") == sweep("data.limit=50", *given[1:], "seed=0") == 0
    assert len(runs.done) == 6
    names = {path.name for path in Path("out").iterdir() if path.is_dir()}
    assert names >= {f"partition.alpha={alpha}" for alpha in (0.1, 0.5)}
    assert names >= {f"data.limit=50,method=fedsq,partition.alpha={alpha},seed=0" for alpha in (0.1, 0.5)}


def test_runs_of_a_version_that_did_not_have_a_setting_count(sweep, runs):
    sweep("seed=0,1")
    for seed in (0, 1):
        kept = Path(f"out/seed={seed}/config.yaml")
        lines = kept.read_text().splitlines(keepends=True)
        kept.write_text("".join(line for line in lines if "gated_from" not in line))
    assert sweep("seed=0,1", "executor.workers=2") == 0
    assert len(runs.done) == 2
    assert sweep("method.gated_from=0.5", "seed=0") == 0
    assert len(runs.done) == 3


def test_a_sweep_that_is_done_does_not_load_torch(sweep, runs):
    sweep("seed=0,1")
    words = ["run", "-m", "executor=inprocess", "output=out", "seed=0,1"]
    code = (
        f"import sys; from fedsq_flwr.cli import main; assert main({words}) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_output_the_same_sweep_finds_its_directory(runs, capsys):
    for _ in range(2):
        assert main(["run", "-m", "executor=inprocess", "seed=0,1", "method=fedsq"]) == 0
    assert main(["run", "-m", "method=fedsq", "seed=0,1"]) == 0
    first = [line for line in capsys.readouterr().out.splitlines() if " into " in line]
    assert len(runs.done) == 2
    assert len(set(first)) == 1
    assert first[0].startswith("2 jobs into runs/sweep-")
    assert len(list(Path("runs").iterdir())) == 1


def test_a_job_that_was_broken_off_is_resumed(sweep, runs):
    def die(config):
        raise KeyboardInterrupt

    runs.before = die
    assert sweep("seed=0,1") == 130
    runs.before = lambda _: None
    assert sweep("seed=0,1") == 0
    assert [(config.seed, config.resume) for config in runs.done] == [(0, True), (1, False)]


def test_a_finished_run_without_its_page_gets_it(sweep, runs, monkeypatch):
    sweep("seed=0")
    Path("out/seed=0/report.html").unlink()
    made = []
    monkeypatch.setattr("fedsq_flwr.sweeps.job.write_report", made.append)
    assert sweep("seed=0") == 0
    assert made == [Path("out/seed=0").absolute()]
    assert len(runs.done) == 1


def test_ctrl_c_ends_the_sweep_at_once_and_keeps_what_is_finished(sweep, runs, capsys):
    def die(config):
        if config.seed == 1:
            raise KeyboardInterrupt

    runs.before = die
    assert sweep("seed=0,1,2") == 130
    assert [config.seed for config in runs.done] == [0]
    assert Path("out/seed=0/summary.json").exists()
    assert not Path("out/seed=1/failure.json").exists()
    assert not Path("out/seed=2").exists()
    assert not list(Path("out").glob(".sweep-*"))


def test_a_job_that_cannot_be_resumed_begins_anew_and_loses_nothing(sweep, runs):
    def die(config):
        raise KeyboardInterrupt

    runs.before = die
    sweep("batch_norm=local", "seed=0")
    runs.before = lambda _: None
    assert sweep("batch_norm=local", "seed=0") == 0
    assert [config.resume for config in runs.done] == [False]
    directory = Path("out/batch_norm=local,seed=0")
    assert (directory / "earlier/1/history.jsonl").read_text().count("\n") == 1
    assert (directory / "summary.json").exists()


def test_a_job_that_failed_is_kept_told_and_gone_on_with(sweep, runs, capsys):
    def fail(config):
        if config.seed == 0:
            raise RunFailedError("round 1: the disk is full")

    runs.before = fail
    assert sweep("seed=0,1") == 1
    shown = capsys.readouterr()
    assert "seed=0  failed: round 1: the disk is full" in shown.out
    assert shown.err == "fedsq: 1 of 2 jobs failed\n  seed=0: round 1: the disk is full\n"
    assert json.loads(Path("out/seed=0/failure.json").read_text()) == {"error": "round 1: the disk is full"}
    assert [config.seed for config in runs.done] == [1]
    runs.before = lambda _: None
    assert sweep("seed=0,1") == 0
    assert [(config.seed, config.resume) for config in runs.done] == [(1, False), (0, True)]
    assert not Path("out/seed=0/failure.json").exists()
    assert not Path("out/seed=0/earlier").exists()


def test_a_job_that_failed_under_other_settings_begins_anew_and_loses_nothing(sweep, runs):
    def fail(config):
        raise RunFailedError("round 2: the loss is not finite")

    runs.before = fail
    sweep("seed=0", "momentum=0.5")
    Path("out/momentum=0.5,seed=0").rename("out/seed=0")
    runs.before = lambda _: None
    assert sweep("seed=0") == 0
    assert [config.resume for config in runs.done] == [False]
    assert Path("out/seed=0/earlier/1/failure.json").exists()


def test_what_fails_before_a_round_takes_nothing_from_a_run_that_was_broken_off(sweep, runs, monkeypatch):
    def die(config):
        raise KeyboardInterrupt

    runs.before = die
    sweep("seed=0")
    runs.before = lambda _: None
    with monkeypatch.context() as broken:
        broken.setattr("fedsq_flwr.sweeps.job.check_files", lambda _: refuse())
        assert sweep("seed=0") == 1
    assert Path("out/seed=0/failure.json").exists()  # the report tells of it
    assert sweep("seed=0") == 0
    assert [config.resume for config in runs.done] == [True]


def refuse():
    raise ConfigurationError("data.path=/mnt: there is no such folder")


def test_jobs_are_counted_and_fail_the_sweep_though_nobody_reads_what_is_shown(sweep, runs, monkeypatch):
    def fail(config):
        if config.seed > 0:
            raise RunFailedError("round 1: the disk is full")

    def closed(progress, text):
        raise SystemExit(1)  # as rich does when the pipe is closed, say by `... | head -1`

    runs.before = fail
    monkeypatch.setattr(SweepProgress, "_print", closed)
    with pytest.raises(SystemExit):
        sweep("seed=0,1,2")
    assert [config.seed for config in runs.done] == [0]
    assert all(Path(f"out/seed={seed}/failure.json").exists() for seed in (1, 2))


def test_a_job_broken_off_beyond_the_rounds_asked_for_is_left_alone(sweep, runs, capsys):
    sweep("rounds=3")
    Path("out/rounds=3/summary.json").unlink()
    Path("out/rounds=3").rename("out/rounds=2")
    before = sorted(path.name for path in Path("out/rounds=2").iterdir())
    assert sweep("rounds=2") == 1
    assert "rounds=2: the unfinished run in " in capsys.readouterr().err
    assert sorted(path.name for path in Path("out/rounds=2").iterdir()) == before


def test_an_unexpected_error_fails_its_job_only_and_keeps_its_traceback(sweep, runs, capsys):
    def fail(config):
        if config.seed == 0:
            raise RuntimeError("shapes do not fit\nat all")

    runs.before = fail
    assert sweep("seed=0,1") == 1
    assert "seed=0: RuntimeError: shapes do not fit at all" in capsys.readouterr().err
    assert "Traceback (most recent call last)" in Path("out/seed=0/run.log").read_text()
    assert "RuntimeError" in json.loads(Path("out/seed=0/failure.json").read_text())["error"]
    assert [config.seed for config in runs.done] == [1]


def test_a_bad_value_fails_its_job_only(sweep, runs, capsys):
    assert sweep("learning_rate=-1,0.1") == 1
    assert "learning_rate=-1: learning_rate=-1: must be above 0" in capsys.readouterr().err
    assert Path("out/learning_rate=-1/failure.json").exists()
    assert len(runs.done) == 1


@pytest.mark.parametrize("state", ["finished", "unfinished"])
def test_a_run_with_other_settings_is_left_alone(sweep, runs, capsys, state):
    sweep("seed=0", "momentum=0.5")
    Path("out/momentum=0.5,seed=0").rename("out/seed=0")
    if state == "unfinished":
        Path("out/seed=0/summary.json").unlink()
        leave_rounds(Path("out/seed=0"), 1)
    before = sorted(path.name for path in Path("out/seed=0").iterdir())
    assert sweep("seed=0") == 1
    assert f"momentum: differs from the {state} run in " in capsys.readouterr().err
    assert sorted(path.name for path in Path("out/seed=0").iterdir()) == before
    assert len(runs.done) == 1


def test_an_unknown_setting_ends_the_sweep_before_it_begins(sweep, runs, capsys):
    assert sweep("sed=0,1") == 1
    assert "sed: there is no such setting; did you mean seed" in capsys.readouterr().err
    assert sweep("method=fedsq,nope") == 1
    assert "method=nope: allowed are" in capsys.readouterr().err
    assert runs.done == []


def test_a_process_that_joblib_replaces_is_nothing_to_be_told(sweep, runs, capsys):
    def grow(config):
        warnings.warn("A worker stopped while some jobs were given to the executor.", UserWarning, stacklevel=1)

    runs.before = grow
    assert sweep("seed=0") == 0
    assert "A worker stopped" not in capsys.readouterr().err


def test_options_may_stand_among_overrides(runs):
    assert main(["run", "seed=0,1", "-m", "output=out", "method=fedsq"]) == 0
    assert len(runs.done) == 2
