"""A local SuperLink: started by this process, watched, and stopped with all its child processes."""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors import processes
from fedsq_flwr.executors.failure import logged_error
from fedsq_flwr.executors.flower_commands import FlowerCommands
from fedsq_flwr.executors.run_log import RunLog

_HOST = "127.0.0.1"
_START_SECONDS = 60.0
_SUPERLINK = "flower-superlink"
#: What a run of a simulation depends on, each started by one before it.
VITAL = (_SUPERLINK, "flower-superexec", "flwr-simulation", "gcs_server", "raylet")


class LocalSuperLink(FlowerCommands):
    """A SuperLink on a loopback port of its own, for use in a ``with`` statement.

    It keeps its state in memory, and leaves neither a process nor a file behind. Whatever runs below it has
    its standard output in the log.

    Parameters
    ----------
    log : RunLog
        Where its output goes, and that of `flwr run`.
    variables : Mapping[str, str]
        Environment variables for everything that runs below it.
    certificates : Path, optional
        A directory with ``ca.crt``, ``server.crt`` and ``server.key``: the SuperLink speaks TLS, and takes
        real silos whose keys it knows. Without it, it runs simulations, over plain HTTP.

    Raises
    ------
    RunFailedError
        On entering: Flower is not installed, or the SuperLink did not come up.
    """

    def __init__(self, log: RunLog, variables: Mapping[str, str], certificates: Path | None = None) -> None:
        super().__init__(log, variables)
        self.address = ""
        self._certificates = certificates
        self._vital: dict[str, psutil.Process] = {}

    def lost_processes(self) -> list[str]:
        """Return the names of `VITAL` whose processes ran below the SuperLink and have ended.

        All below the SuperLink end, rightly, some seconds before the run counts as finished.
        """
        # Remembered for `stop`: some of Ray's processes outlive their parent and hide their environment.
        self._known |= processes.descendants([self._vital[_SUPERLINK]])
        for process in self._known:
            with suppress(psutil.Error):
                for name in {Path(word).name for word in process.cmdline()[:2]}.intersection(VITAL):
                    self._vital.setdefault(name, process)
        return [name for name in VITAL if name in self._vital and not processes.is_alive(self._vital[name])]

    def _prepare(self) -> None:
        """Start the SuperLink and wait until it listens."""
        port = free_port()
        self.address = f"{_HOST}:{port}"
        authority = None if self._certificates is None else str(self._certificates / "ca.crt")
        self.connect(self.address, authority, insecure=authority is None)
        child = self._spawn(_SUPERLINK, *self._options(), "--host", _HOST, "--port", str(port))
        self._vital[_SUPERLINK] = process = psutil.Process(child.pid)
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(process, port):
            if child.poll() is not None or time.monotonic() > deadline:
                self._log.drain(seconds=1.0)
                reason = logged_error(self._log.recent()) or "no reason given"
                raise RunFailedError(f"Flower's SuperLink did not start: {reason} (log: {self._log.path})")
            time.sleep(0.05)

    def _leave_word(self, run_id: str) -> None:
        """Do nothing: this SuperLink ends with this process."""

    def _options(self) -> tuple[str, ...]:
        if self._certificates is None:
            return ("--insecure", "--simulation", "--isolation", "subprocess")
        files = {"ca-certfile": "ca.crt", "certfile": "server.crt", "keyfile": "server.key"}
        tls = (word for name, file in files.items() for word in (f"--ssl-{name}", str(self._certificates / file)))
        return (*tls, "--enable-supernode-auth", "--disable-runtime-dependency-installation")


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _listens(process: psutil.Process, port: int) -> bool:
    """Whether this process holds the port; another process could answer on it."""
    with suppress(psutil.Error):
        connections = process.net_connections(kind="tcp4")
        return any(c.status == psutil.CONN_LISTEN and c.laddr[1] == port for c in connections)
    return False
