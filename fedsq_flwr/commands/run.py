"""``fedsq run``: compose the settings, and run one federation, or with ``-m`` a sweep."""

import logging
from argparse import Namespace
from pathlib import Path

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fedsq_flwr.commands.going_on import resuming, telling_how_to_go_on
from fedsq_flwr.commands.hydra_main import choices_of, parse_words, run_by_hydra, show, sources_of
from fedsq_flwr.errors import ConfigurationError, FedSQError, RunFailedError
from fedsq_flwr.records.lock import hold
from fedsq_flwr.settings.composition import composing, resolve
from fedsq_flwr.settings.files import check_files
from fedsq_flwr.settings.hydra_errors import one_line_errors
from fedsq_flwr.settings.overrides import key_of, quoted
from fedsq_flwr.settings.reference import help_text
from fedsq_flwr.settings.run import RunSettings

#: Hydra's own name of the directory of a run; its default is ``output``.
_HYDRAS = "hydra.run.dir"


def run(words: list[str]) -> None:
    """Run what ``words`` ask for: one federation, or with ``-m`` a sweep.

    Raises
    ------
    FedSQError
        If a setting is wrong, or a job fails.
    """
    chosen = parse_words(words)
    if chosen.shell_completion:
        raise ConfigurationError('--shell-completion: is  eval "$(fedsq completion bash)"  here')
    asks = (chosen.hydra_help, chosen.info, chosen.cfg not in (None, "job"))
    if chosen.help:
        print(help_text(choices_of(chosen)))  # noqa: T201 - the help is the output
    elif any(asks):
        with one_line_errors():
            show(words)
    elif chosen.multirun or (chosen.cfg is None and "hydra.mode=MULTIRUN" in chosen.overrides):
        _sweep(chosen, words)
    else:
        with composing(sources_of(chosen)) as compose:
            composed = compose(chosen.overrides)
        # As a primary file of one's own may say.
        if composed.hydra.mode == RunMode.MULTIRUN and chosen.cfg is None:
            _sweep(chosen, words)
            return
        settings = resolve(composed, composed.hydra.runtime.choices, chosen.overrides)
        check_files(settings)
        if _HYDRAS in map(key_of, chosen.overrides):
            settings = settings.changed(output=str(composed.hydra.run.dir))
        if chosen.cfg == "job":
            print(yaml.safe_dump(settings.plain(), sort_keys=False), end="")  # noqa: T201 - they are the output
        else:
            _run_one(chosen, settings)


def _sweep(chosen: Namespace, words: list[str]) -> None:
    from fedsq_flwr.commands.sweep import sweep

    with telling_how_to_go_on(["run", *words]):
        sweep(chosen)


def _run_one(chosen: Namespace, settings: RunSettings) -> None:
    overrides = list(chosen.overrides)
    told = {key_of(override) for override in overrides}
    if not {"output", _HYDRAS} & told:
        overrides.append(f"output={quoted(settings.output)}")  # it holds the time, which goes on
    named = settings.output
    goes_on = telling_how_to_go_on(
        ["run", *sources_of(chosen).options(), *resuming(chosen.overrides, named)],
        can_resume=settings.batch_norm != "local",
    )
    output = _made(Path(named))
    if _HYDRAS in told:
        overrides.append(f"{_HYDRAS}={quoted(str(output))}")  # as above
    failed: list[FedSQError] = []
    begun: list[bool] = []

    def job(composed: DictConfig) -> float:
        begun.append(True)
        try:
            return _job(composed)
        except FedSQError as error:  # kept from Hydra, which would add lines of its own
            failed.append(error)
            return float("nan")

    with hold(output), goes_on:
        try:
            run_by_hydra(job, overrides, sources_of(chosen))
        except OSError as error:
            if begun:
                raise
            # Hydra could not write its own files, in the folder .hydra of the run's directory.
            place = error.filename or output
            raise RunFailedError(f"{place}: cannot be written: {error.strerror or error}") from error
    if failed:
        raise failed[0]


def _made(output: Path) -> Path:
    """Make the directory of a run, and return its path."""
    try:
        place = output.expanduser().absolute()
        place.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError, RuntimeError) as error:  # the latter for names of no file, and of no user
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"output={output}: no directory can be made there: {reason}") from error
    return place


def _job(composed: DictConfig) -> float:
    """Run one federation and return the score of its best round."""
    job = HydraConfig.get()
    settings = resolve(composed, job.runtime.choices, job.overrides.task)
    from fedsq_flwr.job import run_job  # torch and more: only once the settings are known to be right

    logging.getLogger("hydra").setLevel(logging.WARNING)
    return run_job(settings.changed(output=job.runtime.output_dir))
