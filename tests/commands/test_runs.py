"""``fedsq runs`` and ``fedsq status``: what is printed, for people and for programs."""

import json
import os

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.federation.exchange import InProgress
from fedsq_flwr.records.config import write_config
from fedsq_flwr.records.history import History
from fedsq_flwr.records.lock import hold
from fedsq_flwr.records.progress import progress_file
from tests.records.made import DIGITS, leave_rounds, leave_run, line

ROW = (
    *("directory", "state", "problem", "began", "process", "method", "data", "seed", "rounds", "finished_rounds"),
    *("select_by", "best", "best_round", "seconds"),
)


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def some_runs(tmp_path):
    """A finished run, one that was broken off, and one with a damaged history."""
    leave_run(tmp_path / "runs" / "a", DIGITS)
    broken = tmp_path / "runs" / "b"
    broken.mkdir()
    write_config(broken / "config.yaml", DIGITS)
    leave_run(tmp_path / "runs" / "c", DIGITS)
    (tmp_path / "runs" / "c" / "history.jsonl").write_text("{}\n" + "\n")
    for number, name in enumerate("abc"):
        for file in (tmp_path / "runs" / name).iterdir():
            os.utime(file, (1e9 + number, 1e9 + number))


def printed(capsys, *words):
    assert main([*words]) == 0
    return capsys.readouterr().out


def test_runs_are_a_table_of_eighty_columns(some_runs, capsys):
    heading, *rows = printed(capsys, "runs").splitlines()
    assert heading.split() == ["began", "state", "rounds", "best", "took", "what", "where"]
    assert [row.split()[2:] for row in rows[:3]] == [
        ["finished", "3/3", "0.500", "6.0", "s", "fedsq", "digits", "seed", "0", "runs/a"],
        ["interrupted", "0/3", "-", "-", "fedsq", "digits", "seed", "0", "runs/b"],
        ["damaged", "0/3", "-", "6.0", "s", "fedsq", "digits", "seed", "0", "runs/c"],
    ]
    assert rows[3].startswith("    history.jsonl, line 1: the field 'round' is missing")
    assert max(map(len, [heading, *rows])) <= 80


def test_a_long_path_is_below_its_run_and_whole(tmp_path, capsys):
    place = "runs/" + "a" * 70
    leave_run(tmp_path / place, DIGITS)
    heading, row, where = printed(capsys, "runs").splitlines()
    assert heading.endswith("what / where")
    assert (len(row) <= 80, where) == (True, f"  {place}")


def test_runs_as_json_are_rows_with_the_same_names_whatever_their_state(some_runs, capsys):
    rows = json.loads(printed(capsys, "runs", "--json"))
    assert [row["state"] for row in rows] == ["finished", "interrupted", "damaged"]
    assert {tuple(row) for row in rows} == {ROW}
    assert rows[0]["best"] == 0.5
    assert json.loads(printed(capsys, "runs", "runs/a", "--json")) == rows[:1]


def test_no_runs_are_no_error_but_no_directory_is(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert printed(capsys, "runs", "empty") == "no run is in or below empty\n"
    assert json.loads(printed(capsys, "runs", "empty", "--json")) == []
    for command in (["runs"], ["status", "empty"], ["status", "runs"]):
        assert main(command) == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_the_status_of_a_run_that_goes_on(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    with hold(run):
        assert "none yet" in printed(capsys, "status", "run")
        write_config(run / "config.yaml", DIGITS)
        assert "  round     1 of 3, for 0:0" in printed(capsys, "status", "run")
        leave_rounds(run, 1)
        assert "  a round   2.0 s, the first\n" in printed(capsys, "status", "run")
        drop = {"silo": 1, "reason": "has \x1b[2J left", "while": "training"}
        History(run / "history.jsonl").append(line(2, accuracy=0.75, dropped=[drop], waited={0: 42.0}))
        told = printed(capsys, "status", "run")
        found = json.loads(printed(capsys, "status", "run", "--json"))
    assert told.startswith(f"run: running, process {os.getpid()} on ")
    assert "  what      fedsq on digits, 2 silos, seed 0\n" in told
    assert "  round     3 of 3, for 0:0" in told
    assert "  a round   2.0 s, the mean of the last 2\n" in told
    assert "  left      about 0:0" in told
    assert "  best      accuracy 0.750 in round 2\n" in told
    assert "  slow      round 2 waited for silo 0 (42 s) after enough others had answered\n" in told
    assert "  dropped   round 2: 1 reply not used: silo 1: has  [2J left\n" in told
    assert max(map(len, told.splitlines()[1:])) <= 80
    assert tuple(found)[: len(ROW)] == ROW
    assert (found["round"], found["finished_rounds"], found["slow"]) == (3, 2, {"0": 42.0})
    assert found["dropped"] == [{"round": 2, **drop}]


def test_the_status_says_who_is_awaited_and_who_failed(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with hold(tmp_path / "run"), progress_file(tmp_path / "run", every=0.0) as tell:
        tell(InProgress(1, "training", tuple(range(30)), tuple(range(25)), {29: "has \x1b[2J left"}))
        told = printed(capsys, "status", "run")
        found = json.loads(printed(capsys, "status", "run", "--json"))["progress"]
        tell(InProgress(1, "evaluating", (0, 3), (3,), {}))
        assert "  awaited   silo 3 (evaluating); 1 of 2 have answered\n" in printed(capsys, "status", "run")
    assert " ".join(told.split()).find("awaited silos 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,") > 0
    assert "19 and 5 more (training); 5 of 30 have answered" in " ".join(told.split())
    assert "  failed    silo 29: has  [2J left\n" in told
    assert (found["round"], found["doing"], found["awaited"][-1], found["failed"]["29"][:3]) == (
        1,
        "training",
        24,
        "has",
    )


def test_the_status_of_a_run_that_is_over(some_runs, tmp_path, capsys):
    told = printed(capsys, "status", "runs/a")
    assert told.startswith("runs/a: finished\n")
    assert "  round     3 of 3 are finished\n" in told
    leave_rounds(tmp_path / "runs" / "b", 1)
    assert "  round     1 of 3 is finished\n" in printed(capsys, "status", "runs/b")
    assert "left" not in told
    assert "  problem   history.jsonl, line 1: the field 'round' is missing" in printed(capsys, "status", "runs/c")
