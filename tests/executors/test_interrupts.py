import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from fedsq_flwr.executors.interrupts import ending_signals_raise, signals_held_back
from fedsq_flwr.executors.processes import is_alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_program_unwinds_it_first(number: signal.Signals) -> None:
    with pytest.raises(SystemExit) as raised, ending_signals_raise():
        signal.raise_signal(number)
    assert raised.value.code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with ending_signals_raise():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_interrupt_waits_for_the_clearing_up() -> None:
    cleared = False
    with pytest.raises(KeyboardInterrupt), signals_held_back():
        signal.raise_signal(signal.SIGINT)
        cleared = True
    assert cleared


def test_outside_the_main_thread_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with ending_signals_raise(), signals_held_back():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


WORKER = """
import subprocess, sys
worker = "from fedsq_flwr.executors.interrupts import end_with_parent as e; e(); e(); print(flush=True); "
worker += "import time; time.sleep(60)"
with subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE) as process:
    process.stdout.readline()
    print(process.pid, flush=True)
    process.wait()
"""


def test_a_worker_ends_soon_after_the_process_that_it_works_for():
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 20
        while is_alive(worker) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_alive(worker)
