"""Trackers hear of each round once, in order, and cannot hurt a run."""

import json
import logging
from pathlib import Path

import pytest

from fedsq_flwr.errors import ConfigurationError, DataError, RunFailedError
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.trackers import Tracking
from tests.records.made import line, summary
from tests.trackers.fakes import Recorder


class Run:
    """A run's directory whose rounds come as they are asked for."""

    def __init__(self, path: Path) -> None:
        self.directory = RunDirectory(path / "a run")
        self.directory.path.mkdir()
        self.warnings: list[str] = []

    def tracking(self, *overrides: str, **trackers: Recorder) -> Tracking:
        return Tracking(trackers, compose_settings(overrides), self.directory, self.warnings.append)

    def round(self, number: int) -> None:
        self.directory.history.append(line(number, accuracy=number / 10))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_tracker_is_told_start_rounds_and_end(run: Run) -> None:
    tracker = Recorder()
    with run.tracking("method=fedavg", one=tracker) as tracking:
        for number in (1, 2):
            run.round(number)
            tracking.catch_up()
        tracking.finish(summary(best_accuracy=0.2))
    assert tracker.calls == [
        ("start", "a run", "fedavg", None),
        ("round", 1, 0.1),
        ("round", 2, 0.2),
        ("finish", 0.2),
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RunFailedError("no"), "failed"), (ValueError(), "failed"), (KeyboardInterrupt(), "interrupted")],
)
def test_a_run_that_breaks_off_is_told_as_such_and_its_error_goes_on(run: Run, error, reason) -> None:
    tracker = Recorder()
    with pytest.raises(type(error)), run.tracking(one=tracker):
        raise error
    assert tracker.calls[1:] == [("fail", reason)]


@pytest.mark.parametrize("failing", ["round", "finish"])
def test_a_tracker_that_fails_is_dropped_with_one_line_and_the_others_go_on(run: Run, failing, caplog) -> None:
    broken, sound = Recorder(failing=(failing,)), Recorder()
    with run.tracking(broken=broken, sound=sound) as tracking, caplog.at_level(logging.WARNING):
        for number in (1, 2):
            run.round(number)
            tracking.catch_up()
        tracking.finish(summary(best_accuracy=0.2))
    assert [call[0] for call in sound.calls] == ["start", "round", "round", "finish"]
    assert broken.calls[-1][0] == failing and [call[0] for call in broken.calls].count(failing) == 1
    assert run.warnings == [
        f"the tracker broken failed and is told nothing more: OSError: no space left at {failing}"
    ]
    assert "the tracker broken failed" in caplog.text and "Traceback" in caplog.text


def test_a_tracker_that_fails_on_being_told_of_a_failure_does_not_hide_it(run: Run) -> None:
    with pytest.raises(RunFailedError, match="the cause"), run.tracking(one=Recorder(failing=("fail",))):
        raise RunFailedError("the cause")
    assert len(run.warnings) == 1


def test_a_tracker_that_cannot_start_ends_the_run_before_it_begins(run: Run) -> None:
    first, second = Recorder(), Recorder(failing=("start",))
    with pytest.raises(ConfigurationError) as caught, run.tracking(first=first, second=second):
        pytest.fail("the run began")
    assert str(caught.value) == "trackers=second: cannot start: OSError: no space left at start"
    assert [call[0] for call in first.calls] == ["start", "fail"]


def test_a_resumed_run_goes_on_and_is_told_what_was_missed(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt), run.tracking(old=Recorder()) as tracking:
        run.round(1)
        tracking.catch_up()
        run.round(2)  # finished, and the process died before it told
        raise KeyboardInterrupt
    old, new = Recorder(), Recorder()
    with run.tracking("resume=true", old=old, new=new) as tracking:
        run.round(3)
        tracking.catch_up()
    assert old.calls[0] == ("start", "a run", "fedsq", "run-1")
    assert [call[1] for call in old.calls[1:]] == [2, 3]
    assert new.calls[0] == ("start", "a run", "fedsq", None)
    assert [call[1] for call in new.calls[1:]] == [1, 2, 3]


def test_a_tracker_left_out_once_is_remembered(run: Run) -> None:
    with run.tracking(one=Recorder()) as tracking:
        run.round(1)
        tracking.catch_up()
    with run.tracking("resume=true", other=Recorder()):
        pass
    told = json.loads((run.directory.path / "trackers.json").read_text())
    assert told == {"one": {"run": "run-1", "round": 1}, "other": {"run": "run-1", "round": 0}}


def test_without_trackers_nothing_is_written(run: Run) -> None:
    with run.tracking() as tracking:
        run.round(1)
        tracking.catch_up()
        tracking.finish(summary())
    assert [path.name for path in run.directory.path.iterdir()] == ["history.jsonl"]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"one": 1}', b'{"one": {"round": -1}}', b"\xff"])
def test_what_trackers_were_told_cannot_be_read_is_one_line(run: Run, content: bytes) -> None:
    (run.directory.path / "trackers.json").write_bytes(content)
    with pytest.raises(DataError, match=r"trackers\.json") as caught:
        run.tracking("resume=true", one=Recorder())
    assert "\n" not in str(caught.value)
    run.tracking(one=Recorder())  # a new run looks at none


def test_a_full_disk_is_one_line(run: Run, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    told = r"trackers\.json: cannot be written: No space"
    with pytest.raises(RunFailedError, match=told), run.tracking(one=Recorder()):
        pytest.fail("the run began")


def test_a_disk_that_fills_up_ends_no_run_for_a_tracker(run: Run, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    tracker = Recorder()
    with run.tracking(one=tracker) as tracking:
        run.round(1)
        monkeypatch.setattr(Path, "write_bytes", full)
        tracking.finish(summary())
    assert [told for told in run.warnings if "trackers.json: cannot be written: No space" in told]
    assert tracker.calls[-1][0] == "finish"
