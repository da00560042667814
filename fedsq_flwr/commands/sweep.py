"""``fedsq run -m``: a sweep. Hydra makes the jobs and has them launched; each does what is missing of it."""

import logging
import warnings
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import BrokenExecutor

from rich.console import Console
from rich.text import Text

from fedsq_flwr.commands.hydra_main import sources_of, sweep_by_hydra
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors.interrupts import ending_signals_raise
from fedsq_flwr.report import numerals
from fedsq_flwr.sweeps.job import SweepJob
from fedsq_flwr.sweeps.outcomes import Event, State
from fedsq_flwr.sweeps.plan import Plan, plan_sweep
from fedsq_flwr.sweeps.progress import SweepProgress
from fedsq_flwr.sweeps.watching import watched


def sweep(chosen: Namespace) -> None:
    """Run the jobs of a sweep that are not done already.

    Parameters
    ----------
    chosen : Namespace
        The command line, as Hydra's parser reads it.

    Raises
    ------
    FedSQError
        If a setting is wrong whatever the job, and nothing was run; or, with a line each, if jobs failed, once
        the others are over.
    """
    plan = plan_sweep(chosen.overrides, sources_of(chosen))
    console = Console()
    introduce(plan, console)
    progress = SweepProgress(plan.total, plan.label, console)
    carry_out(plan, progress)
    progress.close(plan.place, best=plan.searches)
    refuse_failures(progress)


def carry_out(plan: Plan, progress: SweepProgress) -> None:
    """Have Hydra run the jobs of ``plan``, and show them by ``progress``, which then knows how each ended.

    Raises
    ------
    RunFailedError
        If a process that ran jobs died.
    SystemExit
        SIGTERM or SIGHUP came: the processes that run jobs are ended, too.
    """
    logging.getLogger("hydra_plugins").setLevel(logging.CRITICAL)  # failures are told here, and in one line
    with (
        watched(plan.output, progress) as place,
        ending_signals_raise(),
        warnings.catch_warnings(),
    ):
        # Of joblib's, where a process has grown by the gates that it kept: another takes its place, no job is lost.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        try:
            sweep_by_hydra(SweepJob(place), plan.overrides, plan.sources)
        except BrokenExecutor as error:
            raise RunFailedError(f"a process that ran jobs died ({error}); the same command again goes on") from error
        except ValueError as error:  # of Optuna's, which looks for the best of the jobs
            if "No trials are completed" not in str(error):
                raise


def refuse_failures(progress: SweepProgress, except_for: Callable[[Event], bool] = lambda _: False) -> None:
    """Raise an error that names the failed jobs, except those that may fail.

    Raises
    ------
    RunFailedError
        With a line for each.
    """
    failed = [event for event in progress.of(State.FAILED) if not except_for(event)]
    if failed:
        lines = [f"{progress.label(event)}: {event.error}" for event in failed]
        raise RunFailedError(f"{len(failed)} of {numerals.count(len(progress.over), 'job')} failed", *lines)


def introduce(plan: Plan, console: Console) -> None:
    """Print the number of jobs, their directory, and the settings that all jobs share."""
    jobs = "jobs" if plan.total is None else numerals.count(plan.total, "job")
    console.print(Text(f"{jobs} into {plan.place}", style="bold"), soft_wrap=True, highlight=False)
    if plan.fixed:
        console.print(Text(f"all with {' '.join(plan.fixed)}", style="dim"), soft_wrap=True, highlight=False)
