"""Silos as processes on this machine: started, watched until they are connected, and ended."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors.environment import isolated_environment
from fedsq_flwr.executors.interrupts import signals_held_back

_CONNECT_SECONDS = 120.0
_END_SECONDS = 20.0
_POLL_SECONDS = 0.1
#: What a silo's log says when it is connected and has loaded what it needs.
READY = "ready"


class SiloProcesses:
    """Processes of ``fedsq silo``, one for each file of settings, for use in a ``with`` statement.

    Each writes its log beside its settings, as ``silo.log``.

    Parameters
    ----------
    settings : sequence of Path
        The silos' files of settings.
    home : Path
        Marks the processes as this run's own.
    variables : Mapping[str, str]
        Environment variables for them.

    Raises
    ------
    RunFailedError
        On entering: a silo ended, or did not connect in time; its log says why.
    """

    def __init__(self, settings: Sequence[Path], home: Path, variables: Mapping[str, str]) -> None:
        self._settings = settings
        self._home = home
        self._variables = variables
        self._processes: list[subprocess.Popen[bytes]] = []
        self._before: dict[Path, int] = {}  # bytes that an earlier attempt logged

    def __enter__(self) -> Self:
        """Start all silos and wait until they are connected."""
        try:
            environment = isolated_environment(self._home, self._variables)
            for path in self._settings:
                with log_of(path).open("ab") as log:
                    self._before[path] = log.tell()
                    command = [sys.executable, "-m", "fedsq_flwr.cli", "silo", str(path)]
                    self._processes.append(
                        subprocess.Popen(  # noqa: S603  (no shell)
                            command,
                            env=environment,
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=subprocess.STDOUT,
                            start_new_session=True,  # what ends it is decided here, not by the terminal
                        )
                    )
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all silos."""
        self.stop()

    def stop(self) -> None:
        """Stop the silos, and kill those that do not stop; does nothing a second time."""
        with signals_held_back():
            for process in self._processes:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _END_SECONDS
            for process in self._processes:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + _CONNECT_SECONDS
        waiting = dict(zip(self._settings, self._processes, strict=True))
        while waiting:
            for path, process in list(waiting.items()):
                said = lines_of(path, self._before[path])
                if any(line.endswith((f" {READY}", f'"message": "{READY}"}}')) for line in said):  # text, or JSON
                    del waiting[path]
                elif process.poll() is not None or time.monotonic() > deadline:
                    last = said[-1] if said else "it said nothing"
                    raise RunFailedError(f"silo {path.parent.name} did not start: {last} (log: {log_of(path)})")
            time.sleep(_POLL_SECONDS)


def log_of(settings: Path) -> Path:
    """Return the log of the silo that has these settings."""
    return settings.with_name("silo.log")


def lines_of(settings: Path, before: int = 0) -> list[str]:
    """Return the lines of a silo's log, but for its first ``before`` bytes."""
    return log_of(settings).read_bytes()[before:].decode("utf-8", errors="replace").splitlines()
