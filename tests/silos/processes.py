"""Silos, and other commands of ours, as processes of their own whose output can be waited for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

SILO = ("-m", "fedsq_flwr.cli", "silo")


def wait_until(holds: Callable[[], object], seconds: float, what: str = "nothing more is known") -> None:
    """Look every few milliseconds; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} seconds: {what}"
        time.sleep(0.05)


def below_us() -> list[psutil.Process]:
    """The processes below this one, but for the SuperLink itself and what it runs for as long as it runs."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if not {Path(word).name for word in process.cmdline()[:2]} & {"flower-superlink", "flower-superexec"}:
                found.append(process)
    return found


class Process:
    """A Python process; what it prints goes to files in ``folder``.

    Parameters
    ----------
    folder : Path
        Made if need be; it is the process's current one, too.
    arguments : str
        What follows ``python``.
    variables : str
        Of its environment.
    """

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.output, self.errors = folder / "stdout", folder / "stderr"
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def command_line(self) -> str:
        return " ".join(psutil.Process(self.pid).cmdline())

    def environment(self) -> str:
        return repr(psutil.Process(self.pid).environ())

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def complained(self) -> str:
        return self.errors.read_text(errors="replace")

    def runs(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, words: str, seconds: float = 60) -> None:
        """Wait until it has printed ``words``."""
        wait_until(lambda: words in self.said() or not self.runs(), seconds, f"{words!r} in {self.said()!r}")
        assert words in self.said(), (self.said(), self.complained())

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ends(self, seconds: float = 60) -> int:
        """Wait for its end; gives the status."""
        return self._process.wait(seconds)

    def stop(self) -> None:
        """End it: kindly, so that it can clear up, and then by force; does nothing a second time."""
        if self.runs():
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
