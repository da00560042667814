"""Handing a command line to Hydra, which parses it, composes settings and calls the job."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from fedsq_flwr.settings.composition import CONFIG_NAME, Sources, conf_directory, register


def parse_words(words: Sequence[str]) -> Namespace:
    """Return a command line as Hydra reads it; options may stand among overrides."""
    chosen: Namespace = get_args_parser().parse_intermixed_args(words)
    return chosen


def sources_of(chosen: Namespace) -> Sources:
    """Return where a command line has Hydra look for files."""
    return Sources(chosen.config_name or CONFIG_NAME, chosen.config_dir, chosen.config_path)


def hand_to_hydra(job: Callable[[DictConfig], float | None], words: Sequence[str]) -> None:
    """Have Hydra call ``job`` as the command line ``words`` says; its errors are raised, not printed."""
    # Hydra would print its errors itself, many lines long, and exit; this makes it raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    before, sys.argv = sys.argv, ["fedsq run", *words]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name=CONFIG_NAME)(job)()
    finally:
        sys.argv = before
