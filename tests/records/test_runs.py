"""How a run stands, told by its files and its lock, whatever has become of them."""

import os
import time
from datetime import datetime

import pytest

from fedsq_flwr.errors import DataError
from fedsq_flwr.files import write_as_json
from fedsq_flwr.records.config import write_config
from fedsq_flwr.records.history import line_text
from fedsq_flwr.records.lock import hold, hold_as_server, holder_of
from fedsq_flwr.records.runs import State, standing, standings
from fedsq_flwr.records.summary import Failure
from tests.records.made import DIGITS, leave_rounds, leave_run, line


def begun(directory, rounds=0):
    directory.mkdir(exist_ok=True)
    write_config(directory / "config.yaml", DIGITS)
    if rounds:
        leave_rounds(directory, rounds)
    return directory


def test_a_finished_run_and_one_that_stopped_early(tmp_path):
    run = standing(leave_run(tmp_path / "a", DIGITS))
    assert (run.state, run.problem, run.seconds, run.best_value, run.best.round) == (State.FINISHED, "", 6.0, 0.5, 1)
    early = leave_run(tmp_path / "b", DIGITS, stopped=2)
    leave_rounds(early, 2)
    assert standing(early).state is State.STOPPED


def test_a_run_that_failed_says_why_and_one_that_was_broken_off_does_not(tmp_path):
    run = begun(tmp_path / "a", rounds=1)
    assert (standing(run).state, standing(run).problem, standing(run).seconds) == (State.INTERRUPTED, "", 2.0)
    write_as_json(run / "failure.json", Failure(error="no silo\nis left"))
    assert (standing(run).state, standing(run).problem) == (State.FAILED, "no silo is left")


@pytest.mark.parametrize("how", [hold, hold_as_server])
def test_a_run_goes_on_as_long_as_a_process_holds_it(tmp_path, how):
    run = begun(tmp_path, rounds=1)
    os.utime(run / "history.jsonl", (time.time() - 3600,) * 2)  # the round began with the command
    with how(run):
        found = standing(run)
        assert (found.state, found.holder.pid) == (State.RUNNING, os.getpid())
        assert 0 <= found.round_seconds < 60
        assert 0 <= found.seconds_left <= 4.0
        (run / "history.jsonl").write_text("{")  # half a line, or damage: it goes on
        assert standing(run).state is State.RUNNING
    assert standing(run).state is State.INTERRUPTED


def test_a_lock_whose_holder_was_killed_holds_nothing_and_is_not_changed(tmp_path):
    (tmp_path / ".lock").write_text('{"pid": 1, "host": "here", "since": "2026-11-29 20:00:00+00:00"}')
    assert holder_of(tmp_path) is None
    assert (tmp_path / ".lock").read_text()
    with hold(tmp_path):
        (tmp_path / ".lock").write_text("damaged")
        assert holder_of(tmp_path).pid == 0


DAMAGE = {
    "config.yaml": lambda run: (run / "config.yaml").write_text("method: {"),
    "no config": lambda run: (run / "config.yaml").unlink(),
    "summary.json": lambda run: (run / "summary.json").write_text('{"schema": 1}'),
    "history.jsonl": lambda run: (run / "history.jsonl").write_text("{}\n"),
    "a folder": lambda run: ((run / "history.jsonl").unlink(), (run / "history.jsonl").mkdir()),
    "no history": lambda run: (run / "history.jsonl").unlink(),
    "a round lacks": lambda run: (run / "history.jsonl").write_text(
        line_text(line(1)) + "\n" + line_text(line(3)) + "\n"
    ),
    "cut": lambda run: leave_rounds(run, 2),
    "too many": lambda run: leave_rounds(run, 4),
    "failure.json": lambda run: (run / "failure.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_told_by_the_file(tmp_path, damage):
    run = leave_run(tmp_path / "a", DIGITS)
    damage(run)
    (found,) = standings(tmp_path)
    assert found.state is State.DAMAGED
    assert found.problem.split(":")[0].split(",")[0] in (
        "config.yaml",
        "summary.json",
        "history.jsonl",
        "failure.json",
    )
    assert "\n" not in found.problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_cannot_be_read_is_listed(tmp_path):
    (tmp_path / "a").mkdir(mode=0)
    assert [(run.state, run.problem) for run in standings(tmp_path)] == [
        (State.DAMAGED, "cannot be read: Permission denied")
    ]


@pytest.mark.parametrize(
    "first",
    [
        "2026-11-29 20:00:00,123 INFO a",
        "2026-11-29T20:00:00.123+01:00 INFO a",
        '{"time": "2026-11-29T20:00:00.123+01:00"',
    ],
)
def test_a_run_began_when_its_log_says(tmp_path, first):
    (begun(tmp_path) / "run.log").write_text(f"{first}\nmore")
    zone = "+01:00" if "+" in first else ""
    assert standing(tmp_path).began == datetime.fromisoformat(f"2026-11-29 20:00:00{zone}").astimezone()


@pytest.mark.parametrize("first", ["", "\0" * 99, "9999-99-99 99:99:99", '{"time": "'])
def test_a_run_whose_log_does_not_say_began_with_its_oldest_file(tmp_path, first):
    (begun(tmp_path) / "run.log").write_text(first)
    os.utime(tmp_path / "config.yaml", (1e9, 1e9))
    assert standing(tmp_path).began.timestamp() == 1e9


def test_runs_come_in_the_order_in_which_they_began_and_none_within_another(tmp_path):
    for name, began in (("b", 3e8), ("a", 2e8), ("c", 1e8)):
        leave_run(tmp_path / name, DIGITS)
        for file in (tmp_path / name).iterdir():
            os.utime(file, (began, began))
    leave_run(tmp_path / "a" / "earlier" / "1", DIGITS)
    assert [run.directory.name for run in standings(tmp_path)] == ["c", "a", "b"]
    with pytest.raises(DataError, match="there is no such directory"):
        standings(tmp_path / "none")
