"""Hydra's command line, and how Hydra calls a job, once or for a sweep."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.types import RunMode
from omegaconf import DictConfig

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.composition import (
    CONFIG_NAME,
    Sources,
    composing,
    conf_directory,
    hydra_at,
    own_choices,
    register,
)
from fedsq_flwr.settings.fields import catalogue
from fedsq_flwr.settings.overrides import key_of
from fedsq_flwr.settings.run import RunSettings

#: What Hydra calls with what it composed; returns the figure that a sweeper may optimise.
Job = Callable[[DictConfig], float | None]

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


def run_by_hydra(job: Job, overrides: Sequence[str], sources: Sources) -> None:
    """Have Hydra make the directory of a run and call ``job`` with what it composes of ``overrides``.

    `hydra.main` would compose everything once more, only to learn whether it is a run or a sweep.
    """
    with hydra_at(sources) as own:
        own.run(sources.config_name, job, [*overrides, f"hydra.mode={RunMode.RUN.name}"])


def sweep_by_hydra(job: Job, overrides: Sequence[str], sources: Sources) -> None:
    """Have Hydra's sweeper make jobs of ``overrides``, and its launcher call ``job`` for each."""
    with hydra_at(sources) as own:
        own.multirun(sources.config_name, job, [*overrides, f"hydra.mode={RunMode.MULTIRUN.name}"])


def show(words: Sequence[str]) -> None:
    """Have Hydra print what the command line ``words`` asks for, of its settings; errors are raised, not printed."""
    # Hydra would print its errors itself, many lines long, and exit; this makes it raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    before, sys.argv = sys.argv, ["fedsq run", *words]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name=CONFIG_NAME)(lambda _: None)()
    finally:
        sys.argv = before
