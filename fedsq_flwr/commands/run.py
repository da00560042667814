"""``fedsq run``: compose the settings, and run one federation, or with ``-m`` a sweep."""

import logging
from argparse import Namespace
from pathlib import Path

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fedsq_flwr.commands.going_on import resuming, telling_how_to_go_on
from fedsq_flwr.commands.hydra_main import choices_of, hand_to_hydra, parse_words, sources_of
from fedsq_flwr.errors import ConfigurationError, FedSQError, RunFailedError
from fedsq_flwr.records.lock import hold
from fedsq_flwr.settings.composition import compose_settings, composing, resolve
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
            hand_to_hydra(_job, words)
    elif chosen.multirun or "hydra.mode=MULTIRUN" in chosen.overrides:
        from fedsq_flwr.commands.sweep import sweep

        with telling_how_to_go_on(["run", *words]):
            sweep(chosen)
    elif chosen.cfg == "job":
        settings = compose_settings(chosen.overrides, sources_of(chosen))
        settings = settings.changed(output=_output(chosen, settings))
        print(yaml.safe_dump(settings.plain(), sort_keys=False), end="")  # noqa: T201 - the settings are the output
    else:
        _run_one(chosen)


def _run_one(chosen: Namespace) -> None:
    settings = compose_settings(chosen.overrides, sources_of(chosen))  # before Hydra makes the run's directory
    overrides = list(chosen.overrides)
    told = {key_of(override) for override in overrides}
    if not {"output", _HYDRAS} & told:
        overrides.append(f"output={quoted(settings.output)}")  # it holds the time, which goes on
    named = _output(chosen, settings)
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

    with hold(output), one_line_errors(), goes_on:
        try:
            hand_to_hydra(job, [*sources_of(chosen).options(), *overrides])
        except OSError as error:
            if begun:
                raise
            # Hydra could not write its own files, in the folder .hydra of the run's directory.
            place = error.filename or output
            raise RunFailedError(f"{place}: cannot be written: {error.strerror or error}") from error
    if failed:
        raise failed[0]


def _output(chosen: Namespace, settings: RunSettings) -> str:
    """Return the directory of a run, by the name that Hydra has for it if the command line uses that."""
    if _HYDRAS not in map(key_of, chosen.overrides):
        return settings.output
    with composing(sources_of(chosen)) as compose:
        return str(compose(chosen.overrides).hydra.run.dir)


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
