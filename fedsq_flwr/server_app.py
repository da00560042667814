"""The Flower app of the server: assemble the federation, run the rounds, keep what they give."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedsq_flwr.apps.callbacks import Callback, Diagnose, Keep, Report
from fedsq_flwr.apps.connecting import connect, wire_of
from fedsq_flwr.apps.deliveries import Deliver
from fedsq_flwr.apps.federation import Federation
from fedsq_flwr.apps.flower_log import log_failure, log_results, log_round, log_start
from fedsq_flwr.assembly.parts import Parts, load_parts
from fedsq_flwr.data import FederatedData
from fedsq_flwr.errors import FedSQError
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.history import Line
from fedsq_flwr.records.lock import hold_as_server
from fedsq_flwr.records.progress import progress_file
from fedsq_flwr.records.status import OccupiedError
from fedsq_flwr.run_config import settings_of
from fedsq_flwr.settings.run import RunSettings

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run config asks for.

    Raises
    ------
    FedSQError
        With one line; the line is also in Flower's log, and in the run's directory, where the executor finds it.
    """
    try:
        settings = settings_of(context)
        log_start(settings)
        directory = RunDirectory(settings.output)
        try:
            run_federation(grid, settings, directory, partial(log_round, settings=settings))
        except OccupiedError:
            raise  # to write the line down would be to write into another run
        except FedSQError as error:
            directory.write_failure(str(error))
            raise
    except FedSQError as error:
        log_failure(str(error))
        raise
    log_results(directory)


def run_federation(
    grid: Grid,
    settings: RunSettings,
    directory: RunDirectory,
    on_round: Callable[[Line], None] | None = None,
    *,
    parts: Parts | None = None,
) -> None:
    """Run all rounds of ``settings`` on ``grid`` and write the run's directory.

    Flower decides how many silos a simulation has; ``settings.silos`` is then what it says.

    Parameters
    ----------
    grid : Grid
        Carries messages to the silos.
    settings : RunSettings
        Checked settings.
    directory : RunDirectory
        Where the run is kept.
    on_round : callable, optional
        Told each finished round's line of the history.
    parts : Parts, optional
        What `load_parts` has loaded already for these settings.

    Raises
    ------
    FedSQError
        If the data or weights cannot be had, or a round fails.
    """
    with (
        torch_threads(settings.executor.threads),
        hold_as_server(directory.path),
        closing(wire_of(grid, settings)) as wire,
        # The count is the process's as soon as any thread sets it, so that thread does not set it back.
        ThreadPoolExecutor(1, "parts", torch.set_num_threads, (settings.executor.threads,)) as pool,
        progress_file(directory.path) as tell,
    ):
        loading = pool.submit(lambda: parts or load_parts(settings))  # while Ray or the silos start
        registry, found = connect(wire, settings)
        if found.silos != settings.silos:  # distribute the data among the silos found
            loading = pool.submit(load_parts, found)
        parts = loading.result()
        if isinstance(parts.data, FederatedData):
            wire.share_data(parts.data)
        start = directory.open(found, parts.data)
        federation = Federation.build(found, parts, registry, shared=wire.takes_shared_arrays)
        federation.resume(start)
        callbacks: list[Callback] = [
            *([Diagnose(federation.examiner)] if federation.examiner is not None else []),
            Keep(directory, federation, parts, on_round or (lambda _: None)),
            *([] if found.model_for_silos == "none" else [Deliver(directory.path, federation, wire)]),
            Report(directory),
        ]
        rounds = iter(()) if directory.has_stopped(found) else federation.rounds(wire, start.round, tell)
        for finished in rounds:
            for callback in callbacks:
                callback.after_round(finished)
            if directory.has_stopped(found):
                break
        federation.ask_audits(wire)
        for callback in callbacks:
            callback.after_run()
