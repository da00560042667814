"""What a killed run has started ends, and its temporary folder goes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fedsq_flwr.executors import processes
from fedsq_flwr.executors.home import Home, remove_left_over

#: A run that starts a process, which starts another one, in a session of its own, and tells its home.
RUN = """
import os, subprocess, sys, time
from fedsq_flwr.executors.home import Home
from fedsq_flwr.executors.interrupts import ending_signals_raise
with ending_signals_raise(), Home() as home:
    environment = os.environ | {"FLWR_HOME": str(home.path)}
    home.at_loss([sys.executable, "-c", f"open({sys.argv[1]!r}, 'w')"], os.environ)
    grandchild = "import time; time.sleep(60)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}], start_new_session=True)"
    subprocess.Popen([sys.executable, "-c", child], env=environment, start_new_session=True)
    print(home.path, flush=True)
    time.sleep(60)
"""


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_a_run_has_started_ends_with_it(tmp_path: Path, number: signal.Signals) -> None:
    stopped = tmp_path / "stopped"
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(stopped)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert run.stdout is not None
    home = Path(run.stdout.readline().strip())
    assert wait_until(lambda: len(processes.marked("FLWR_HOME", str(home))) == 2)
    below = processes.descendants([psutil.Process(run.pid)])
    assert len(below) == 4  # the keeper, too
    run.send_signal(number)
    run.wait()
    run.stdout.close()
    if number is not signal.SIGKILL:  # `FlowerCommands.stop` does this before it removes its home
        processes.end(lambda: processes.marked("FLWR_HOME", str(home)))
    assert wait_until(lambda: not any(map(processes.is_alive, below)))
    assert wait_until(lambda: not home.exists())
    assert stopped.exists() == (number is signal.SIGKILL)


def test_a_home_that_nobody_holds_is_removed_by_a_later_run(tmp_path: Path) -> None:
    left, young, foreign, used = (tmp_path / f"fedsq-{name}" for name in ("left", "young", "foreign", "used"))
    for folder in (left, young, foreign, used):
        folder.mkdir()
        if folder is not foreign:
            (folder / ".lock").touch()
    holding = "import sys; from filelock import FileLock as L; l = L(sys.argv[1]); l.acquire(); print(flush=True)"
    holding += "; sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", holding, str(used / ".lock")], **pipes) as holder:
        holder.stdout.readline()
        for folder in (left, foreign, used):
            os.utime(folder, (0, 0))
        remove_left_over(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([young, foreign, used])


def test_a_keeper_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    with Home("fedsq-test-") as home:
        keepers: list[psutil.Process] = []
        while not keepers:  # until it runs its own program
            keepers = [child for child in psutil.Process().children() if str(home.path) in child.cmdline()]
        (keeper,) = keepers
        keeper.kill()
        keeper.wait()
        home.at_loss(["true"], {})
    assert not home.path.exists()
