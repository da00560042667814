"""Weights & Biases: offline, in the run's directory, unless ``WANDB_MODE`` says otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Read when wandb is imported. It would send reports of its own errors to its makers.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from fedsq_flwr.trackers.tracker import Reason, Setting

_PROJECT = "fedsq"
_STATUS: Mapping[Reason, int] = {"failed": 1, "interrupted": 130}


class WandB:
    """Writes ``wandb/`` in a run's directory; with ``WANDB_MODE=online`` also uploads it.

    What wandb would add by itself is switched off: code, the state of git, what the terminal shows, installed
    packages, and facts and figures of the machine.

    Parameters
    ----------
    directory : Path
        The run's.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._run: Any = None

    def start(self, name: str, settings: Mapping[str, Setting], run: str | None) -> str:
        """See `Tracker`."""
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=name,
            id=run,
            resume="allow",
            config=dict(settings),
            allow_val_change=True,  # a resumed run may have more rounds
            dir=str(self._directory),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_code=True,
                disable_git=True,
                save_code=False,
                x_save_requirements=False,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )
        return str(self._run.id)

    def round(self, number: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log(dict(metrics), step=number)

    def finish(self, summary: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.summary.update(dict(summary))
        self._run.finish()

    def fail(self, reason: Reason) -> None:
        """See `Tracker`."""
        self._run.finish(exit_code=_STATUS[reason])
