"""Handing a command line to Hydra, which parses it, composes settings and calls the job."""

import os
import sys
from collections.abc import Callable, Sequence

import hydra
from omegaconf import DictConfig

from fedsq_flwr.config.composition import CONFIG_MODULE, CONFIG_NAME, register_schema


def hand_to_hydra(job: Callable[[DictConfig], float | None], words: Sequence[str]) -> None:
    """Have Hydra call ``job`` as the command line ``words`` says; its errors are raised, not printed."""
    # Hydra would print its errors itself, many lines long, and exit; this makes it raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_schema()
    before, sys.argv = sys.argv, ["fedsq run", *words]
    try:
        hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME)(job)()
    finally:
        sys.argv = before
