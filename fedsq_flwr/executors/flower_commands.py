"""Flower's commands, run with a Flower home of their own and stopped with it."""

import json
import logging
import math
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import tomli_w

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors import processes
from fedsq_flwr.executors.environment import command_path, isolated_environment
from fedsq_flwr.executors.failure import logged_error
from fedsq_flwr.executors.home import Home
from fedsq_flwr.executors.interrupts import signals_held_back
from fedsq_flwr.executors.run_log import RunLog

log = logging.getLogger(__name__)

_COMMAND_SECONDS = 60.0
_SILENT_SECONDS = 300.0  # a busy SuperLink may tell no status for so long
_STATUS_POLL_SECONDS = 1.0
_STARTED = re.compile(r"started run (\d+)")
COMPLETED, STOPPED, FINISHED = "finished:completed", "finished:stopped", "finished:"
#: The connection's name in Flower's configuration.
CONNECTION = "federation"


class FlowerCommands:
    """A Flower home that knows one SuperLink, for use in a ``with`` statement.

    Parameters
    ----------
    log : RunLog
        Where the output of what runs for long goes.
    variables : Mapping[str, str]
        Environment variables for every command.

    Raises
    ------
    RunFailedError
        On entering: Flower is not installed.
    """

    def __init__(self, log: RunLog, variables: Mapping[str, str]) -> None:
        self._home = Home()
        self._log = log
        self._variables = variables
        self._environment: dict[str, str] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._known: set[psutil.Process] = set()
        self._run_id: str | None = None

    @property
    def home(self) -> Path:
        """Flower's home, which goes with this object."""
        return self._home.path

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of every command."""
        return self._environment

    def __enter__(self) -> Self:
        """Prepare the home."""
        try:
            self._environment = isolated_environment(self.home, self._variables)
            self._home.keep()
            self._prepare()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what was started and remove the home."""
        self.stop()

    def connect(self, address: str, root_certificates: str | None, *, insecure: bool) -> None:
        """Have the commands talk to the SuperLink at ``address``."""
        connection: dict[str, Any] = {"address": address}
        if insecure:
            connection["insecure"] = True
        elif root_certificates is not None:
            connection["root-certificates"] = root_certificates
        configuration = {"superlink": {"default": CONNECTION, CONNECTION: connection}}
        (self.home / "config.toml").write_text(tomli_w.dumps(configuration), encoding="utf-8")

    def run(self, app: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start `flwr run` on an app directory; the process returned ends when the run does."""
        return self._spawn("flwr", "run", str(app), "--stream", *arguments)

    def run_id(self) -> str | None:
        """Return the id of the run that was started, if the SuperLink has said it."""
        return self._run_id

    def run_status(self) -> str | None:
        """Return the status of the run, such as ``finished:completed``; None if it cannot be told."""
        if (run_id := self.run_id()) is None:
            return None
        with suppress(OSError, subprocess.SubprocessError, ValueError, LookupError):
            answer = self._call("flwr", "ls", "--run-id", run_id, "--format", "json")
            (run,) = json.loads(answer[answer.index(b"{") :])["runs"]
            return str(run["status"])
        return None

    def final_status(
        self,
        meanwhile: Callable[[], None] = lambda: None,
        *,
        silent: float = _SILENT_SECONDS,
        unfinished: float = math.inf,
    ) -> str | None:
        """Ask for the status of the run, whose output has ended, until it is known.

        A SuperLink that is busy, or is started again, does not always answer. The output of a run may break off
        before the run ends.

        Parameters
        ----------
        meanwhile : callable
            Called between two questions.
        silent, unfinished : float
            Seconds to wait for a SuperLink that tells no status, and for a run whose status is that it goes on.

        Returns
        -------
        str or None
            The last status that was told. None if none was, or the run was never started.
        """
        status, waits_for = None, ""
        began = told_at = time.monotonic()
        while self.run_id() is not None:
            answer = self.run_status()
            now = time.monotonic()
            if answer is not None:
                status, told_at = answer, now
            if (status or "").startswith(FINISHED) or now - told_at > silent:
                break
            if status is not None and now - began > unfinished:
                break
            reason = f"a status, for {silent:g} s" if answer is None else f"its end (status: {answer})"
            if reason != waits_for:
                log.info("run %s: its output has ended; waiting for %s", self.run_id(), reason)
                waits_for = reason
            meanwhile()
            time.sleep(_STATUS_POLL_SECONDS)
        return status

    def stop_run(self) -> None:
        """Ask the SuperLink to end the run, if it has begun."""
        if (run_id := self.run_id()) is not None:
            with suppress(OSError, subprocess.SubprocessError):
                self._call("flwr", "stop", run_id)

    def register(self, public_key: Path) -> None:
        """Make a silo's key known to the SuperLink.

        Raises
        ------
        RunFailedError
            If it is not taken; the line is Flower's.
        """
        try:
            self._call("flwr", "supernode", "register", str(public_key), CONNECTION)
        except subprocess.CalledProcessError as error:
            lines = (error.stdout + error.stderr).decode(errors="replace").splitlines()
            reason = logged_error(lines) or "".join(lines[-1:]) or "no reason given"
            raise RunFailedError(f"{public_key}: is not registered: {reason}") from error
        except subprocess.TimeoutExpired as error:
            reason = f"no answer within {_COMMAND_SECONDS:g} seconds"
            raise RunFailedError(f"{public_key}: is not registered: {reason}") from error

    def stop(self) -> None:
        """End every process that was started here and remove its files; does nothing a second time."""
        with signals_held_back():
            processes.end(self._mine)
            for child in self._children:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=1.0)  # takes it out of the process table
            self._home.remove()

    def _prepare(self) -> None:
        """Prepare the home before the first command."""

    def _mine(self) -> set[psutil.Process]:
        marked = processes.marked("FLWR_HOME", str(self.home))
        return processes.descendants(self._known | marked)

    def _call(self, command: str, *arguments: str) -> bytes:
        """Return what a short command prints; any other status than 0 is an error."""
        return subprocess.run(  # noqa: S603  (no shell)
            [command_path(command), *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=True,
        ).stdout

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
            self._log.collect(child.stdout, self._note_run_id)
        return child

    def _note_run_id(self, line: str) -> None:
        """Keep the run's id when it is printed: at the end of a long run the line is no longer among the last."""
        if self._run_id is None and (match := _STARTED.search(line)):
            self._run_id = match[1]
            self._leave_word(match[1])

    def _leave_word(self, run_id: str) -> None:
        """Have the run stopped if this process is killed: the SuperLink would go on with it."""
        self._home.at_loss([command_path("flwr"), "stop", run_id], self._environment)
