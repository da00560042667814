"""The simulation executor: the Flower app through `flwr run`, each silo's work in a Ray actor."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors.failure import logged_error, written_error
from fedsq_flwr.executors.flower_app import FEDSQ_APP, FlowerApp, write_app, write_run_config
from fedsq_flwr.executors.flower_commands import COMPLETED, FINISHED
from fedsq_flwr.executors.follow import JsonLinesFollower
from fedsq_flwr.executors.interrupts import ending_signals_raise
from fedsq_flwr.executors.ray_cluster import check_cluster
from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.superlink import VITAL, LocalSuperLink
from fedsq_flwr.records.history import Line
from fedsq_flwr.settings.executor import Simulation
from fedsq_flwr.settings.run import RunSettings

_POLL_SECONDS = 0.2
_ENDING_SECONDS = 5.0  # that a run may take to be finished when a vital process has ended
_WATCH_SECONDS = 1.0  # looking through all processes takes some milliseconds
# How long the run may take to end once one of these has ended. The simulation's process ends when the
# outcome is known to the SuperLink, Ray's own before that.
_GRACE_SECONDS = dict.fromkeys(VITAL, 3.0) | {"gcs_server": 60.0, "raylet": 60.0}


def run_simulation(
    settings: RunSettings,
    on_round: Callable[[Line], None],
    *,
    app: FlowerApp = FEDSQ_APP,
) -> None:
    """Run the app in Flower's simulation and return once it has done what was asked.

    Nothing that was started is left running, however this ends. What every process said is in
    ``flower.log`` in ``settings.output``.

    Parameters
    ----------
    settings : RunSettings
        With ``output`` an absolute path of an existing directory.
    on_round : Callable[[Line], None]
        Called with each line that the run appends to ``history.jsonl``.
    app : FlowerApp
        Which app to run.

    Raises
    ------
    RunFailedError
        The run did not complete; the message is one line and names the log.
    SystemExit
        SIGTERM or SIGHUP came.
    """
    output = Path(settings.output)
    told = output / "failure.json"
    told.unlink(missing_ok=True)
    follower = JsonLinesFollower(output / "history.jsonl")

    def report() -> None:
        for line in follower.read():
            on_round(line)

    with (
        ending_signals_raise(),
        RunLog(output / "flower.log") as log,
        LocalSuperLink(log, _variables(settings)) as link,
    ):
        if _executor(settings).ray_address is not None:
            check_cluster(settings, link.environment)
        lost = _follow(link, _start(link, settings, app), report)
        waits = {} if lost is None else {"unfinished": _ENDING_SECONDS}
        if lost == VITAL[0]:  # the SuperLink itself, which can tell nothing any more
            waits["silent"] = 0.0
        status = link.final_status(report, **waits)
        report()
        if status != COMPLETED:
            died = f"{lost} ended in mid-run" if lost and not (status or "").startswith(FINISHED) else None
            cause = written_error(told) or died or logged_error(log.recent()) or "no reason given"
            raise RunFailedError(f"{cause} (status: {status or 'none'}; log: {log.path})")


def _start(link: LocalSuperLink, settings: RunSettings, app: FlowerApp) -> subprocess.Popen[bytes]:
    executor = _executor(settings)
    directory, run_config = link.home / "app", link.home / "run.toml"
    write_app(directory, app)
    write_run_config(run_config, settings)
    federation = {
        "num-supernodes": settings.silos,
        "client-resources-num-cpus": executor.client_cpus,
        "client-resources-num-gpus": executor.client_gpus,
    }
    resources = " ".join(f"{name}={value}" for name, value in federation.items())
    return link.run(directory, ("--run-config", str(run_config), "--federation-config", resources))


def _executor(settings: RunSettings) -> Simulation:
    if not isinstance(settings.executor, Simulation):
        raise TypeError(f"expected the settings of a simulation, got {type(settings.executor)}")
    return settings.executor


def _variables(settings: RunSettings) -> dict[str, str]:
    executor = _executor(settings)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(executor.threads))
    # Flower's protocol has no word for a cluster, but Ray reads its address in the environment.
    return threads if executor.ray_address is None else {**threads, "RAY_ADDRESS": executor.ray_address}


def _follow(link: LocalSuperLink, run: subprocess.Popen[bytes], report: Callable[[], None]) -> str | None:
    """Report rounds until the run ends or its time is over; return the first vital process that ended, if any."""
    lost_at: dict[str, float] = {}
    watched_at = 0.0
    while run.poll() is None:
        report()
        if (now := time.monotonic()) - watched_at > _WATCH_SECONDS:
            watched_at = now
            for name in link.lost_processes():
                if now - lost_at.setdefault(name, now) > _GRACE_SECONDS[name]:
                    return name
        time.sleep(_POLL_SECONDS)
    return next(iter(link.lost_processes()), None)
