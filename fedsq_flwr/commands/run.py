"""``fedsq run``: hand the overrides to Hydra, which calls the job, once or for each job of a sweep."""

from argparse import Namespace
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fedsq_flwr.commands.hydra_main import hand_to_hydra
from fedsq_flwr.config import to_config
from fedsq_flwr.config.composition import apply_calibration, compose_config
from fedsq_flwr.errors import FedSQError


def run(words: list[str]) -> None:
    """Run what ``words`` ask for: one federation, or with ``-m`` a sweep.

    Raises
    ------
    FedSQError
        If a setting is wrong, or a job fails.
    """
    chosen = _sweep_of(words)
    if chosen is not None:
        from fedsq_flwr.commands.sweep import sweep

        sweep(chosen)
        return
    if not any(word.startswith("-") for word in words):
        compose_config(words)  # before Hydra makes the run's directory
    failed: list[FedSQError] = []

    def job(composed: DictConfig) -> float:
        try:
            return _job(composed)
        except FedSQError as error:  # kept from Hydra, which would add lines of its own
            failed.append(error)
            return float("nan")

    hand_to_hydra(job, words)
    for error in failed:
        raise error


def _sweep_of(words: list[str]) -> Namespace | None:
    """Return the command line as Hydra reads it if a sweep is asked for, and not just something about one."""
    if not any(word.startswith("-") or word.startswith("hydra.mode=") for word in words):
        return None
    chosen = get_args_parser().parse_intermixed_args(words)  # options may stand among overrides
    multirun = chosen.multirun or "hydra.mode=MULTIRUN" in chosen.overrides
    asks = (chosen.help, chosen.hydra_help, chosen.cfg, chosen.info, chosen.shell_completion, chosen.run)
    return chosen if multirun and not any(asks) else None


def _job(composed: DictConfig) -> float:
    """Run one federation and return its best validation accuracy."""
    job = HydraConfig.get()
    composed, overrides = apply_calibration(composed, job.overrides.task)
    config = to_config(composed)
    from fedsq_flwr.job import run_job  # torch and more: only once the settings are known to be right

    return run_job(config, overrides, Path(job.runtime.output_dir))
