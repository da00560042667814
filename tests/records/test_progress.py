"""The file that says who is awaited: there while the run goes on, seldom written, and never late for long."""

import json
import logging
import time
from pathlib import Path

import pytest

from fedsq_flwr.federation.exchange import InProgress
from fedsq_flwr.records.lock import hold
from fedsq_flwr.records.progress import PROGRESS, Progress, progress_file
from fedsq_flwr.records.runs import standing
from tests.records.made import leave_rounds


def going(awaited: tuple[int, ...], number: int = 1, failed: dict[int, str] | None = None) -> InProgress:
    return InProgress(number, "training", (0, 1, 2), awaited, failed or {})


def test_the_last_word_is_written_if_not_at_once_and_the_file_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / PROGRESS
    with progress_file(tmp_path, every=0.2) as tell:
        tell(going((0, 1, 2)))
        first = json.loads(path.read_text())
        assert (first["round"], first["asked"], first["awaited"]) == (1, [0, 1, 2], [0, 1, 2])
        tell(going((1, 2)))
        tell(going((2,), failed={1: "has left"}))
        assert json.loads(path.read_text()) == first
        time.sleep(0.4)
        assert json.loads(path.read_text()) == {**first, "awaited": [2], "failed": {"1": "has left"}}
        tell(going((0, 1, 2), 2))
        tell(going((0,), 2))
    time.sleep(0.3)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_costs_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with progress_file(tmp_path / "no", every=0.0) as tell:
        tell(going((0, 1)))
        tell(going((0,)))
    assert caplog.text.count("cannot be written") == 1


@pytest.mark.parametrize("content", [None, "{", "[]", '{"round": 7}'])
def test_a_run_without_such_a_file_or_with_a_damaged_one_is_told_without(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / PROGRESS).write_text(content)
    with hold(tmp_path):
        assert (standing(tmp_path).progress, standing(tmp_path).problem) == (None, "")


def test_what_is_over_is_not_told(tmp_path: Path) -> None:
    with progress_file(tmp_path) as tell:
        tell(going((0, 1)))
        assert standing(tmp_path).progress is None  # no process is at work
        with hold(tmp_path):
            assert isinstance(standing(tmp_path).progress, Progress)
            leave_rounds(tmp_path, 1)
            assert standing(tmp_path).progress is None
