"""Bad input and failed runs: one clear line on stderr, a non-zero status, nothing lost."""

import resource
import shlex

import pytest

from fedsq_flwr.cli import main
from tests.endtoend.conftest import SMALL


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["partition.alpha=-1"], "fedsq: partition.alpha=-1: must be above 0"),
        (
            ["method=nope"],
            "fedsq: method=nope: allowed are centralised, centralised_fixed_gates, fedadam, fedavg, fedavgm, fedbn, ",
        ),
        (["rounds=abc"], "fedsq: rounds=abc: must be a whole number"),
        (["rouns=3"], "fedsq: rouns: there is no such setting; did you mean rounds?"),
        (
            ["backbone.weights=/no/such.safetensors"],
            "fedsq: backbone.weights=/no/such.safetensors: there is no such file",
        ),
        (
            ["silos=1000"],
            "fedsq: silos=1000 with partition.min_size=10 need 10000 samples; there are 143",
        ),
        (["-m", "--cfg", "job"], "fedsq: Only one of --run, --multirun, --cfg"),
        (["executor.device=warp"], "fedsq: executor.device=warp: allowed are auto, cpu, cuda, cuda:N and mps"),
        (["executor.device=cuda:99"], "fedsq: executor.device='cuda:99' cannot be used here"),
        (["partition=iid"], "fedsq: partition.alpha=5: is a setting of partition=dirichlet, quantity, not of "),
        (["participation=0.5"], "fedsq: participation: is called fraction_train since version 0.2"),
    ],
)
def test_bad_input_is_told_in_one_line(tmp_path, monkeypatch, capfd, overrides, line):
    monkeypatch.chdir(tmp_path)
    assert main(["run", *SMALL, "output=out", *overrides]) == 1
    out, err = capfd.readouterr()
    assert err.startswith(line)
    assert err.count("\n") == 1
    assert out == ""
    assert not (tmp_path / "out" / "history.jsonl").exists()


def test_a_bad_setting_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "partition.alpha=-1"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_which_every_silo_fails_ends_with_the_reason(run, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("disk is full")

    monkeypatch.setattr("fedsq_flwr.federation.silo.train_locally", fail)
    run(status=1)
    error = capsys.readouterr().err
    assert error == ("fedsq: round 1: 0 usable replies of 3, min_replies=1 (silos 0, 1, 2: disk is full)\n")


def test_a_run_that_diverges_ends_with_the_reason(run, capsys):
    directory = run("learning_rate=1e30", status=1)
    told = capsys.readouterr().err
    assert "holds values that are not finite" in told
    assert (directory / "run.log").read_text().endswith(f" ERROR flwr: {told}")
    assert not (directory / "summary.json").exists()


def test_a_silo_with_another_structure_is_dropped_by_name(run, monkeypatch, capsys):
    monkeypatch.setattr("fedsq_flwr.federation.server_model.QuantitativeCopy.fingerprint", "", raising=False)
    from fedsq_flwr.gating import DualCopy

    real = DualCopy.fingerprint.fget
    served = iter(["0" * 64])
    monkeypatch.setattr(DualCopy, "fingerprint", property(lambda self: next(served, None) or real(self)))
    run(status=1)
    error = capsys.readouterr().err
    assert "refuses: the server's structural fingerprint is 000000000000..." in error


def test_finished_rounds_are_kept_when_a_run_is_interrupted(run, monkeypatch, capsys):
    from fedsq_flwr.federation.strategy import FedSQ

    aggregate = FedSQ.aggregate_train

    def interrupt(self, server_round, replies):
        if server_round == 2:
            raise KeyboardInterrupt
        return aggregate(self, server_round, replies)

    monkeypatch.setattr(FedSQ, "aggregate_train", interrupt)
    directory = run("rounds=3", status=130)
    assert len((directory / "history.jsonl").read_text().splitlines()) == 1
    assert (directory / "run.log").read_text().endswith("the run is broken off: KeyboardInterrupt\n")
    assert main(["report", str(directory)]) == 0
    monkeypatch.setattr(FedSQ, "aggregate_train", aggregate)
    program, *words = shlex.split(capsys.readouterr().err.splitlines()[-1])
    assert program == "fedsq"
    assert main(words) == 0
    assert len((directory / "history.jsonl").read_text().splitlines()) == 3


def test_a_bad_page_costs_a_finished_run_nothing(run, pages, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no such font")

    monkeypatch.setattr("fedsq_flwr.report.page.render", fail)
    directory = run("rounds=1")
    shown = capsys.readouterr()
    assert "there is no report: RuntimeError: no such font; fedsq report" in shown.out.replace("\n", " ")
    assert (directory / "summary.json").is_file()
    assert not (directory / "failure.json").exists()
    assert " WARNING fedsq_flwr.job: there is no report: RuntimeError" in (directory / "run.log").read_text()


NAMES = {
    "a file": "file",
    "below a file": "file/x",
    "in /proc": "/proc/x",
    "a long name": 300 * "x",
    "~": "~nosuchuser",
}
#: Names that no directory has on any machine are told before the disk is asked.
IMPOSSIBLE = {NAMES["a long name"]: "names no file: at most 255 bytes", NAMES["~"]: "there is no user nosuchuser"}


@pytest.mark.parametrize("output", NAMES.values(), ids=NAMES)
def test_an_output_that_no_directory_can_be_made_of_is_one_line(tmp_path, monkeypatch, capsys, output):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["run", "executor=inprocess", "rounds=1", f"output='{output}'"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fedsq: output={output[:100]}")
    assert IMPOSSIBLE.get(output, f"output={output}: no directory can be made there: ") in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("place", [".hydra", "run.log", "config.yaml", "history.jsonl"])
def test_an_output_that_takes_no_file_is_one_line(run, capsys, tmp_path, place):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / place).touch() if place == ".hydra" else (tmp_path / "run" / place).mkdir()
    run("rounds=1", status=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fedsq: {tmp_path}/run") or line.startswith(f"fedsq: output={tmp_path}/run")


def test_a_directory_that_hydra_names_is_made_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", *SMALL, "learning_rate=1e30", "hydra.run.dir=runs/${now:%f}"]) == 1
    (made,) = (tmp_path / "runs").iterdir()
    assert {".hydra", ".lock", "run.log"} <= {path.name for path in made.iterdir()}


@pytest.mark.parametrize("room", [2_000, 250_000], ids=["partition.json", "a checkpoint"])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(run, capsys, room):
    """A limit on the size of files stands for the end of a disk's room."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
    try:
        directory = run("rounds=1", status=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fedsq: {directory}")
    assert line.endswith("cannot be written: File too large")
    run("rounds=1", "resume=true")
