import subprocess
import sys
import time
from pathlib import Path

import psutil

from fedsq_flwr.executors import processes

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
# Starts a process in a session of its own, tells its id and leaves it alone in the world.
ORPHANING = (
    "import subprocess, sys;"
    "p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True, stdout=subprocess.PIPE);"
    "p.stdout.readline(); print(p.pid)"
)


def test_an_orphan_is_found_by_its_environment_and_killed_if_it_must(tmp_path: Path) -> None:
    environment = {"MARK": str(tmp_path)}
    told = subprocess.check_output([sys.executable, "-c", ORPHANING, STUBBORN], env=environment, timeout=20)
    orphan = psutil.Process(int(told))
    assert processes.marked("MARK", str(tmp_path)) == {orphan}
    assert processes.marked("MARK", str(tmp_path / "other")) == set()

    began = time.monotonic()
    processes.end(lambda: processes.marked("MARK", str(tmp_path)), grace=0.3)
    assert not processes.is_alive(orphan)
    assert time.monotonic() - began < 3


def test_descendants_outlive_their_root_in_what_was_found_before() -> None:
    sleeping = "import time; time.sleep(60)"
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleeping!r}]); {sleeping}"
    root = subprocess.Popen([sys.executable, "-c", script])
    known: set[psutil.Process] = set()
    deadline = time.monotonic() + 20
    while len(known) < 2 and time.monotonic() < deadline:
        known = processes.descendants([psutil.Process(root.pid)])
    root.kill()
    root.wait()
    (child,) = processes.descendants(known)
    assert child.pid != root.pid

    processes.end(lambda: processes.descendants(known))
    assert processes.descendants(known) == set()


def test_nothing_to_end_takes_no_time() -> None:
    began = time.monotonic()
    processes.end(set)
    assert time.monotonic() - began < 1
