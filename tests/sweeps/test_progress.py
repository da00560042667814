"""A sweep in the terminal fits 80 columns, and counts what was there already."""

import io
import math

import pytest
from rich.console import Console

from fedsq_flwr.sweeps.outcomes import Event, Inbox, State, tell
from fedsq_flwr.sweeps.progress import SweepProgress


def event(number, state, **values):
    return Event(number, ["method=fedsq", f"seed={number}"], "nowhere", state, rounds=10, **values)


def shown(total, *events):
    console = Console(file=io.StringIO(), width=80)
    progress = SweepProgress(total, " ".join, console)
    for each in events:
        progress.add(each)
    progress.stop()
    progress.close("runs/my sweep")
    return console.file.getvalue()


def test_each_job_that_ran_has_a_line():
    text = shown(
        4,
        event(0, State.THERE, best=0.9, round=2),
        event(1, State.THERE, best=0.9, round=2),
        event(2, State.FINISHED, best=0.972, round=8, test=0.931, seconds=34),
        event(3, State.FAILED, seconds=1, error="learning_rate=-1.0: must be above 0"),
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "2 jobs there already"
    assert lines[2] == "3/4 0.972 8 0.931 34 s 0:00 method=fedsq seed=2"
    assert lines[3].endswith("method=fedsq seed=3 failed: learning_rate=-1.0: must be above 0")
    assert "1 finished, 2 there already, 1 failed" in text
    assert "fedsq report 'runs/my sweep'" in text
    assert all(len(line) <= 80 for line in text.splitlines()[:3])


def test_a_sweeper_that_searches_may_know_no_total():
    assert "\n      1  0.500" in shown(None, event(0, State.FINISHED, best=0.5, round=1))


def test_no_figure_is_no_number():
    assert "nan" not in shown(1, event(0, State.FINISHED, best=None))


def test_what_a_job_says_cannot_steer_the_terminal():
    assert "\x1b" not in shown(1, event(0, State.FAILED, error="\x1b[2J"))


@pytest.mark.parametrize("best", [0.5, math.nan, None])
def test_events_arrive_once_and_whole(tmp_path, best):
    inbox = Inbox(tmp_path)
    tell(tmp_path, event(0, State.RUNNING))
    tell(tmp_path, event(0, State.FINISHED, best=best))
    assert [each.state for each in inbox.read()] == [State.RUNNING, State.FINISHED]
    assert inbox.read() == []


def test_a_job_that_outlives_its_sweep_tells_nobody(tmp_path):
    tell(tmp_path / "gone", event(0, State.FINISHED))
    assert list(tmp_path.iterdir()) == []
