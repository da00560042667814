"""Runs what is planned, one run at a time, each as a process of its own; a run that was stopped goes on."""

import datetime
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.experiments.plans import Plan, Run
from scripts.experiments.results import RESULTS, figures_of, keep_result, read_results

HERE = Path(__file__).parents[2]
FEDSQ = (sys.executable, "-m", "fedsq_flwr.cli", "run")


class StoppedError(Exception):
    """A run was stopped from outside, and goes on when it is started again."""


def run_plans(plans: Sequence[Plan], output: Path, hours: float) -> None:
    """Run what is missing of ``plans``, in their order, until ``output`` holds ``hours`` of runs.

    Parameters
    ----------
    plans : sequence of Plan
        What to run.
    output : Path
        Takes a directory for each run, and `RESULTS`, a line for each that has ended.
    hours : float
        Of all runs in ``output``, those of earlier calls included. A run that is expected to exceed them is not
        begun.

    Raises
    ------
    StoppedError
        If a run was stopped.
    """
    output.mkdir(parents=True, exist_ok=True)
    while (run := next_run(plans, output)) is not None:
        used = sum(line["minutes"] for line in read_results(output / RESULTS).values())
        if used + run.minutes > 60 * hours:
            print(f"{used:.0f} minutes are used; {run.name} would take {run.minutes:g} more than there are")
            return
        print(f"{datetime.datetime.now():%H:%M} {run.name} (about {run.minutes:g} min)", flush=True)
        carry_out(run, output)


def next_run(plans: Sequence[Plan], output: Path) -> Run | None:
    """Return the first planned run that has not ended yet."""
    found = read_results(output / RESULTS)
    return next((run for plan in plans for run in plan(found) if run.name not in found), None)


def carry_out(run: Run, output: Path) -> None:
    """Run ``run``, or what is missing of it, and keep its line.

    The line of a run that failed says why; the run is not tried again unless its line is taken out.

    Raises
    ------
    StoppedError
        If the run was stopped; it has no line then.
    """
    directory, started = output / run.name, time.monotonic()
    process = subprocess.Popen(
        [*FEDSQ, *words_of(run, output)], cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, errors = process.communicate()
    finally:
        process.terminate()  # where this process is ended: `fedsq run` then keeps what it has
        process.wait()
    if process.returncode < 0 or process.returncode > 128:
        raise StoppedError(f"{run.name} was stopped; the same command goes on")
    line = {"name": run.name, "settings": dict(run.settings), "machine": list(run.machine)}
    line |= {"commit": _commit(), "date": f"{datetime.date.today()}", "minutes": (time.monotonic() - started) / 60}
    if process.returncode:
        line["error"] = (errors.strip().splitlines() or ["failed without a word"])[-1]
        print(f"  failed: {line['error']}", flush=True)
    else:
        line |= figures_of(directory)
        if not run.is_start:
            shutil.rmtree(directory / "checkpoints")  # tens of megabytes; the figures are kept
    keep_result(output / RESULTS, line)


def words_of(run: Run, output: Path) -> list[str]:
    """Return the words of ``fedsq run`` for ``run``; a path in quotes, since the names of directories have ``=``."""
    words = [
        f"{name}='{value.replace('OUTPUT', str(output))}'" if "OUTPUT" in str(value) else f"{name}={value}"
        for name, value in run.settings.items()
    ]
    diagnostics = () if run.is_start else ("diagnostics=true",)
    return [*words, *run.machine, *diagnostics, "resume=true", f"output='{output / run.name}'"]


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()
