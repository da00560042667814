"""The in-process executor: server and silos take turns in this process, without Ray or start-up."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from fedsq_flwr.config import Config
from fedsq_flwr.config.backbones import NETWORKS
from fedsq_flwr.executors.grid import InProcessGrid


def run_inprocess(config: Config, overrides: Sequence[str], on_round: Callable[[dict[str, Any]], None]) -> None:
    """Run the federation of ``config`` in this process.

    Parameters
    ----------
    config : Config
        Checked settings.
    overrides : sequence of str
        The Hydra overrides that compose it; the apps compose it again, as they do under ``flwr run``.
    on_round : callable
        Told each finished round's line of the history.

    Raises
    ------
    FedSQError
        If the run does not do what was asked; one line says why.
    """
    from fedsq_flwr import client_app, server_app  # torch and more: only once a run is wanted
    from fedsq_flwr.records import RunDirectory

    text = "\n".join(overrides)
    run_config = {"experiment": "", "overrides": text}
    workers = workers_of(config)
    with InProcessGrid(client_app.app, silos=config.silos, run_config=run_config, workers=workers) as grid:
        server_app.run_federation(grid, config, RunDirectory(config.output), on_round)


def workers_of(config: Config) -> int:
    """Return how many silos train side by side; by default as many as the cores allow.

    With dropout it is one: local training draws it from torch's global generator, which threads share,
    so that the numbers would depend on who comes first.
    """
    if NETWORKS[config.backbone.name].dropout:
        return 1
    return config.executor.workers or max(1, (os.cpu_count() or 1) // config.executor.threads)
