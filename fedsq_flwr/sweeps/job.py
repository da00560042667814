"""One job of a sweep: runs what is missing and reports the outcome, in any process that a launcher starts."""

import dataclasses
import io
import math
import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from fedsq_flwr.errors import FedSQError
from fedsq_flwr.executors.interrupts import end_with_parent
from fedsq_flwr.records.lock import hold
from fedsq_flwr.records.status import OccupiedError, RunStatus, run_status, set_aside
from fedsq_flwr.records.summary import read_summary
from fedsq_flwr.report import write_report
from fedsq_flwr.report.page import REPORT_NAME, not_at_the_runs_cost
from fedsq_flwr.settings.composition import register, resolve
from fedsq_flwr.settings.executor import InProcess
from fedsq_flwr.settings.files import check_files
from fedsq_flwr.settings.overrides import key_of
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.sweeps.outcomes import Event, State, tell


@dataclass
class SweepJob:
    """The callable that Hydra calls for each job. It can be pickled, because launchers call it in other processes.

    Attributes
    ----------
    place : Path
        The directory that takes the events of the sweep.
    """

    place: Path

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        register()  # in another process Hydra names the job's directory before it calls this
        end_with_parent()

    def __call__(self, composed: DictConfig) -> float | None:
        """Run the job that Hydra composed, unless it is done already.

        Whatever is wrong with it is kept as ``failure.json``, with the traceback of an unexpected error in
        ``run.log``, and told; the sweep goes on.

        Returns
        -------
        float or None
            The best round's `Summary.score`, the figure that a sweeper optimises. If the job failed it is NaN, or
            None for a sweeper that counts failures: Optuna's cannot be told of a NaN.
        """
        job = HydraConfig.get()
        directory, overrides = Path(job.runtime.output_dir), [str(override) for override in job.overrides.task]
        begun = time.monotonic()
        begins = Event(int(job.job.num), overrides, str(directory), State.RUNNING)
        try:
            settings = resolve(composed, job.runtime.choices, overrides).changed(output=str(directory))
            check_files(settings)
            tell(self.place, dataclasses.replace(begins, rounds=settings.rounds))
            with hold(directory, wait=True):  # the same sweep may have been started twice
                state = _run(_with_workers(settings, overrides), directory)
            figures = _figures(directory)
        except OccupiedError as error:
            state, figures = State.FAILED, {"error": str(error)}
        except FedSQError as error:
            _keep_failure(directory, str(error))
            state, figures = State.FAILED, {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - a defect of one job must not end the others
            _log(directory, traceback.format_exc())
            _keep_failure(directory, _one_line(error))
            state, figures = State.FAILED, {"error": _one_line(error)}
        over = dataclasses.replace(begins, state=state, seconds=time.monotonic() - begun, **figures)
        tell(self.place, over)
        if state is State.FAILED and "max_failure_rate" in job.sweeper:
            return None
        return math.nan if over.best is None else over.best


def _run(settings: RunSettings, directory: Path) -> State:
    """Run what is missing of the job."""
    found = run_status(directory, settings)
    if found is RunStatus.FINISHED:
        if not (directory / REPORT_NAME).exists():  # broken off behind its last round
            with not_at_the_runs_cost(directory):
                write_report(directory)
        return State.THERE
    if found is RunStatus.LOST:
        set_aside(directory)
    (directory / "failure.json").unlink(missing_ok=True)
    from fedsq_flwr.job import run_job  # torch and more: only where there is something to run

    run_job(settings.changed(resume=found is RunStatus.BROKEN_OFF), Console(file=io.StringIO(), quiet=True))
    return State.FINISHED


def _figures(directory: Path) -> dict[str, Any]:
    """Return the event of a finished run."""
    summary = read_summary(directory)
    return {"best": summary.score, "round": summary.rounds_to_best or 0, "test": summary.test_accuracy}


def _with_workers(settings: RunSettings, overrides: list[str]) -> RunSettings:
    """Set `executor.workers`: where jobs run side by side, they share the cores unless told otherwise."""
    executor = settings.executor
    launcher: Mapping[str, Any] = HydraConfig.get().launcher
    jobs = launcher.get("n_jobs")
    told = any(key_of(override) == "executor.workers" for override in overrides)
    if told or jobs is None or not isinstance(executor, InProcess) or executor.workers:
        return settings
    cores = os.cpu_count() or 1
    beside = jobs if jobs > 0 else cores
    return settings.changed(executor={"workers": max(1, cores // (executor.threads * beside))})


def _keep_failure(directory: Path, reason: str) -> None:
    from fedsq_flwr.records import RunDirectory

    RunDirectory(directory).write_failure(reason)


def _log(directory: Path, text: str) -> None:
    with (directory / "run.log").open("a", encoding="utf-8") as file:
        file.write(text)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
