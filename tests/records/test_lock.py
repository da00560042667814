"""The locks of a run's directory: one run at a time, and who it is."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.records.lock import hold, hold_as_server, outlast_server
from fedsq_flwr.records.status import OccupiedError

HOLDING = """
import sys, time
from pathlib import Path
from fedsq_flwr.records import lock
with getattr(lock, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Start a process that holds the directory in one of the two ways."""
    started = []

    def start(how: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", HOLDING, how, str(tmp_path)], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_command_is_refused_and_told_who_is_at_work(tmp_path, holder) -> None:
    process = holder("hold")
    begun = time.monotonic()
    with pytest.raises(OccupiedError) as caught, hold(tmp_path):
        pass
    told = (
        rf"output={tmp_path}: a run is at work there, process {process.pid} since 2\d{{3}}-\d\d-\d\d \d\d:\d\d:\d\d"
    )
    assert re.match(told, str(caught.value))
    assert time.monotonic() - begun < 5
    process.send_signal(signal.SIGKILL)
    process.wait()
    with hold(tmp_path):
        pass
    assert (tmp_path / ".lock").read_bytes() == b""  # nobody is there


def test_a_run_into_an_output_at_work_changes_nothing(tmp_path, holder, capsys) -> None:
    holder("hold")
    before = sorted(tmp_path.iterdir())
    assert main(["run", "executor=inprocess", f"output={tmp_path}"]) == 1
    assert capsys.readouterr().err.startswith(f"fedsq: output={tmp_path}: a run is at work there, process ")
    assert main(["run", "executor=inprocess", f"hydra.run.dir={tmp_path}"]) == 1
    assert main(["rehearse", "2", f"output={tmp_path}"]) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_server_that_lost_its_command_is_waited_for(tmp_path, holder) -> None:
    process = holder("hold_as_server")
    told: list[str] = []
    with pytest.raises(OccupiedError, match=f"process {process.pid} "):
        outlast_server(tmp_path, told.append, seconds=0.2)
    assert len(told) == 1
    with hold(tmp_path), pytest.raises(OccupiedError), hold_as_server(tmp_path):  # of another kind than the command's
        pass
    process.terminate()
    outlast_server(tmp_path, told.append, seconds=20)
    outlast_server(tmp_path, told.append)
    assert len(told) <= 3


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"null", b'{"pid": -1}', b"[" * 10_000])
def test_what_the_file_of_a_lock_holds_is_no_matter(tmp_path, content) -> None:
    with hold(tmp_path):
        (tmp_path / ".lock").write_bytes(content)
        with pytest.raises(OccupiedError, match="by a process that did not say who it is"), hold(tmp_path):
            pass


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(RunFailedError, match=r"\.lock: cannot be written: Is a directory"), hold(tmp_path):
        pass
    (tmp_path / ".server.lock").symlink_to(tmp_path / ".server.lock")
    with pytest.raises(RunFailedError, match=r"\.lock: cannot be written"), hold_as_server(tmp_path):
        pass
