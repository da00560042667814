"""Passing a command line to Hydra, which parses it, composes settings and calls the job."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.composition import CONFIG_NAME, Sources, composing, conf_directory, own_choices, register
from fedsq_flwr.settings.fields import catalogue
from fedsq_flwr.settings.overrides import key_of
from fedsq_flwr.settings.run import RunSettings

#: Hydra's options that say where files are; all others say what to do.
_PLACES = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")


def parse_words(words: Sequence[str]) -> Namespace:
    """Return a command line as Hydra reads it; options may stand among overrides.

    Raises
    ------
    ConfigurationError
        If it holds an option that Hydra does not know, or says several things to do.
    """

    def refuse(message: str) -> NoReturn:
        known = {name.partition(".")[0] for name in catalogue(RunSettings)}
        bare = {word: word.lstrip("-").partition("=")[0] for word in words if word.startswith("-")}
        word = next((word for word, name in bare.items() if name in known), None)
        raise ConfigurationError(message if word is None else f"{word}: must be {bare[word]}=VALUE, without a dash")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # it would print Hydra's usage, and end the program
    chosen: Namespace = parser.parse_intermixed_args(words)
    if sum(map(bool, (chosen.run, chosen.multirun, chosen.cfg, chosen.info, chosen.shell_completion))) > 1:
        raise ConfigurationError(
            "Only one of --run, --multirun, --cfg, --info and --shell_completion can be specified"
        )
    return chosen


def parse_overrides(words: Sequence[str]) -> tuple[list[str], Sources]:
    """Return the overrides of a command line without things to do, and where it has Hydra look for files.

    Raises
    ------
    ConfigurationError
        If it holds another option.
    """
    for word in words:
        if word.startswith("-") and word.partition("=")[0] not in _PLACES:
            raise ConfigurationError(f"{word}: there is no such option; settings are given as NAME=VALUE")
    chosen = parse_words(words)
    return list(chosen.overrides), sources_of(chosen)


def sources_of(chosen: Namespace) -> Sources:
    """Return where a command line has Hydra look for files."""
    return Sources(chosen.config_name or CONFIG_NAME, chosen.config_dir, chosen.config_path)


def choices_of(chosen: Namespace) -> dict[str, list[str]]:
    """Return what the folders that a command line names add to each group, see `own_choices`.

    Raises
    ------
    ConfigurationError
        If a folder is missing, or Hydra cannot read what is in it.
    """
    with composing(sources_of(chosen)) as compose:
        return own_choices(compose([word for word in chosen.overrides if key_of(word) == "hydra.searchpath"]))


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
