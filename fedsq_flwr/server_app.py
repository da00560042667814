"""The Flower app of the server: assemble the federation, run the rounds, keep what they give."""

from collections.abc import Callable
from contextlib import closing

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedsq_flwr.apps.callbacks import Callback, Diagnose, Keep, Report
from fedsq_flwr.apps.federation import Federation, connect, wire_of
from fedsq_flwr.assembly.parts import Parts, load_parts
from fedsq_flwr.errors import FedSQError
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.history import Line
from fedsq_flwr.records.lock import hold_as_server
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
        With one line; the line is also kept in the run's directory, where the executor finds it.
    """
    settings = settings_of(context)
    directory = RunDirectory(settings.output)
    try:
        run_federation(grid, settings, directory)
    except OccupiedError:
        raise  # to write the line down would be to write into another run
    except FedSQError as error:
        directory.write_failure(str(error))
        raise


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
    ):
        registry, found = connect(wire, settings)
        if parts is None or found.silos != settings.silos:  # distribute the data among the silos found
            parts = load_parts(found)
        start = directory.open(found, parts.data)
        federation = Federation.build(found, parts, registry)
        federation.resume(start)
        callbacks: list[Callback] = [
            *([Diagnose(federation.examiner)] if federation.examiner is not None else []),
            Keep(directory, federation, parts, on_round or (lambda _: None)),
            Report(directory),
        ]
        rounds = iter(()) if directory.has_stopped(found) else federation.rounds(wire, start.round)
        for finished in rounds:
            for callback in callbacks:
                callback.after_round(finished)
            if directory.has_stopped(found):
                break
        for callback in callbacks:
            callback.after_run()
