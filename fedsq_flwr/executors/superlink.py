"""A SuperLink of our own: started below this process, watched, and ended with all that it started."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import tomli_w

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors import processes
from fedsq_flwr.executors.environment import command_path, isolated_environment, make_home
from fedsq_flwr.executors.failure import logged_error
from fedsq_flwr.executors.interrupts import signals_held_back
from fedsq_flwr.executors.run_log import RunLog

_HOST = "127.0.0.1"
_START_SECONDS = 60.0
_COMMAND_SECONDS = 60.0
_SUPERLINK = "flower-superlink"
#: What a run depends on, each started by one before it.
VITAL = (_SUPERLINK, "flower-superexec", "flwr-simulation", "gcs_server", "raylet")


class LocalSuperLink:
    """A SuperLink for one run of a simulation, for use in a ``with`` statement.

    It has a Flower home and a loopback port of its own, keeps its state in memory, and leaves neither
    a process nor a file behind. Whatever runs below it has its standard output in the log.

    Parameters
    ----------
    log : RunLog
        Where its output goes, and that of `flwr run`.
    variables : Mapping[str, str]
        Environment variables for everything that runs below it.

    Raises
    ------
    RunFailedError
        On entering: Flower is not installed, or the SuperLink did not come up.
    """

    def __init__(self, log: RunLog, variables: Mapping[str, str]) -> None:
        self.home = make_home()
        self._log = log
        self._variables = variables
        self._environment: dict[str, str] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._known: set[psutil.Process] = set()
        self._vital: dict[str, psutil.Process] = {}

    def __enter__(self) -> Self:
        """Start the SuperLink and wait until it listens."""
        try:
            self._environment = isolated_environment(self.home, self._variables)
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the SuperLink and everything below it."""
        self.stop()

    def run(self, app: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start `flwr run` on an app directory; the process returned ends when the run does."""
        return self._spawn("flwr", "run", str(app), "--stream", *arguments)

    def run_status(self) -> str | None:
        """Return the status of the run, such as ``finished:completed``; None if it cannot be told."""
        command = [command_path("flwr"), "ls", "--format", "json"]
        with suppress(OSError, subprocess.SubprocessError, ValueError, LookupError):
            answer = subprocess.run(  # noqa: S603  (no shell, and nothing of it comes from outside)
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_COMMAND_SECONDS,
                check=True,
            ).stdout
            (run,) = json.loads(answer[answer.index(b"{") :])["runs"]
            return str(run["status"])
        return None

    def lost_processes(self) -> list[str]:
        """Look at what runs below the SuperLink, and name those of `VITAL` that have run and no longer do.

        All below the SuperLink end, rightly, some seconds before the run counts as finished.
        """
        # Remembered for `stop`: some of Ray's processes outlive their parent and hide their environment.
        self._known |= processes.descendants([self._vital[_SUPERLINK]])
        for process in self._known:
            with suppress(psutil.Error):
                for name in {Path(word).name for word in process.cmdline()[:2]}.intersection(VITAL):
                    self._vital.setdefault(name, process)
        return [name for name in VITAL if name in self._vital and not processes.is_alive(self._vital[name])]

    def stop(self) -> None:
        """End every process that the run started and remove its files; does nothing a second time."""
        with signals_held_back():
            processes.end(self._mine)
            for child in self._children:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=1.0)  # takes it out of the process table
            shutil.rmtree(self.home, ignore_errors=True)

    def _mine(self) -> set[psutil.Process]:
        marked = processes.marked("FLWR_HOME", str(self.home))
        return processes.descendants(self._known | marked)

    def _start(self) -> None:
        port = _free_port()
        connection = {"address": f"{_HOST}:{port}", "insecure": True}
        configuration = {"superlink": {"default": "simulation", "simulation": connection}}
        (self.home / "config.toml").write_text(tomli_w.dumps(configuration), encoding="utf-8")
        options = ("--insecure", "--simulation", "--isolation", "subprocess")
        child = self._spawn(_SUPERLINK, *options, "--host", _HOST, "--port", str(port))
        self._vital[_SUPERLINK] = process = psutil.Process(child.pid)
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(process, port):
            if child.poll() is not None or time.monotonic() > deadline:
                self._log.drain(seconds=1.0)
                reason = logged_error(self._log.recent()) or "no reason given"
                raise RunFailedError(f"Flower's SuperLink did not start: {reason} (log: {self._log.path})")
            time.sleep(0.05)

    def _spawn(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        # A session of its own keeps the terminal's Ctrl-C from it: what ends it, and in which order,
        # is decided here.
        child = subprocess.Popen(  # noqa: S603  (no shell)
            [command_path(command), *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._children.append(child)
        if child.stdout is not None:
            self._log.collect(child.stdout)
        return child


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _listens(process: psutil.Process, port: int) -> bool:
    """Say whether this process has the port: that a port answers could be another one's doing."""
    with suppress(psutil.Error):
        connections = process.net_connections(kind="tcp4")
        return any(c.status == psutil.CONN_LISTEN and c.laddr[1] == port for c in connections)
    return False
