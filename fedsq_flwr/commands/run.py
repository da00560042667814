"""``fedsq run``: hand the overrides to Hydra, which calls the job, once or for each job of a sweep."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fedsq_flwr.config import to_config
from fedsq_flwr.config.composition import CONFIG_MODULE, CONFIG_NAME, compose_config, register_schema
from fedsq_flwr.errors import FedSQError, RunFailedError


def run(overrides: list[str]) -> None:
    """Run what ``overrides`` ask for: one federation, or with ``-m`` a sweep.

    A sweep goes on after a job that failed; its error is raised when all jobs are over.

    Raises
    ------
    FedSQError
        If a setting is wrong, or a job fails.
    """
    # Hydra would print its errors itself, many lines long, and exit; this makes it raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_schema()
    if not any(word.startswith("-") for word in overrides):
        compose_config(overrides)  # before Hydra makes the run's directory
    failed: list[tuple[str, FedSQError]] = []

    def job(composed: DictConfig) -> float:
        try:
            return _job(composed)
        except FedSQError as error:  # kept from Hydra, which would add lines of its own
            failed.append((HydraConfig.get().job.override_dirname, error))
            return float("nan")

    before, sys.argv = sys.argv, ["fedsq run", *overrides]
    try:
        hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME)(job)()
    finally:
        sys.argv = before
    if len(failed) == 1:
        raise failed[0][1]
    if failed:
        raise RunFailedError(f"{len(failed)} jobs failed: " + "; ".join(f"{name}: {error}" for name, error in failed))


def _job(composed: DictConfig) -> float:
    """Run one federation and return its best validation accuracy, the figure that a sweeper would optimise."""
    config = to_config(composed)
    job = HydraConfig.get()
    from fedsq_flwr.job import run_job  # torch and more: only once the settings are known to be right

    return run_job(config, list(job.overrides.task), Path(job.runtime.output_dir))
