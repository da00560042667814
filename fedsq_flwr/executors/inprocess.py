"""The in-process executor: server and silos run in this process, without Ray."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.records.history import Line
from fedsq_flwr.settings.executor import InProcess
from fedsq_flwr.settings.run import RunSettings

if TYPE_CHECKING:
    from fedsq_flwr.assembly.parts import Parts


def run_inprocess(settings: RunSettings, on_round: Callable[[Line], None], parts: "Parts | None" = None) -> None:
    """Run the federation of ``settings`` in this process.

    Parameters
    ----------
    settings : RunSettings
        With absolute paths.
    on_round : callable
        Told each finished round's line of the history.
    parts : Parts, optional
        What was loaded already for these settings. Server and silos share the data.

    Raises
    ------
    FedSQError
        If the run does not do what was asked; one line says why.
    """
    from fedsq_flwr import client_app, server_app  # torch and more: only once a run is wanted
    from fedsq_flwr.assembly.parts import load_parts
    from fedsq_flwr.records import RunDirectory

    parts = load_parts(settings) if parts is None else parts
    client_app.service.adopt(settings, parts.data)
    with InProcessGrid(client_app.app, silos=settings.silos, workers=workers_of(settings)) as grid:
        server_app.run_federation(grid, settings, RunDirectory(settings.output), on_round, parts=parts)


def workers_of(settings: RunSettings) -> int:
    """Return how many silos train side by side; by default as many as the cores allow.

    With dropout it is one: local training draws it from torch's global generator, which threads share,
    so that the numbers would depend on who comes first.
    """
    if settings.backbone.network.dropout:
        return 1
    told = settings.executor.workers if isinstance(settings.executor, InProcess) else 0
    return told or max(1, (os.cpu_count() or 1) // settings.executor.threads)
