"""Reading a run's directory."""

import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fedsq_flwr.errors import DataError
from fedsq_flwr.report.fields import Fields
from fedsq_flwr.report.outcome import summarise
from fedsq_flwr.report.parsing import REAL_SILOS, parse_partition, parse_round, parse_settings, parse_summary
from fedsq_flwr.report.records import Partition, Round, Run, Settings, Summary


def read_run(directory: Path) -> Run:
    """Read what a run left behind.

    A run without a (fitting) ``summary.json`` is one that did not finish: what can be told of it is
    then made from its history.

    Parameters
    ----------
    directory : Path
        The run's directory, with ``config.yaml`` and ``history.jsonl`` at least.

    Returns
    -------
    Run
        The typed contents.

    Raises
    ------
    DataError
        If a file is missing or broken; one line that names the file.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory; a run's directory is wanted here")
    settings = _read_settings(directory / "config.yaml")
    rounds, notes = _read_history(directory / "history.jsonl")
    partition, note = _read_partition(directory / "partition.json")
    if note:
        notes += (note,)
    summary = _read_summary(directory / "summary.json", settings, rounds)
    return Run(
        directory=directory,
        settings=settings,
        rounds=rounds,
        summary=summary or summarise(rounds, partition),
        partition=partition,
        finished=summary is not None,
        failure=None if summary else read_failure(directory),
        notes=notes,
    )


def read_values(path: Path) -> tuple[Any, str]:
    """Read a file of settings: what it holds, and its text.

    Raises
    ------
    DataError
        If it is missing or not YAML.
    """
    text = _read_text(path)
    try:
        return OmegaConf.to_container(OmegaConf.create(text)), text
    except (YAMLError, OmegaConfBaseException) as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def read_failure(directory: Path) -> str | None:
    """Read why the run of a directory ended, if it could say so.

    Raises
    ------
    DataError
        If the file that says it is broken.
    """
    path = directory / "failure.json"
    return Fields(str(path), _parse_json(str(path), _read_text(path))).text("error") if path.exists() else None


def _read_settings(path: Path) -> Settings:
    values, text = read_values(path)
    return parse_settings(Fields(str(path), values), text)


def _read_history(path: Path) -> tuple[tuple[Round, ...], tuple[str, ...]]:
    """Read all rounds, in order, and make notes on the file."""
    text = _read_text(path)
    lines = text.split("\n")
    notes: tuple[str, ...] = ()
    if lines[-1].strip() and not _is_json(lines[-1]):
        # A run that is killed while it writes leaves half a line; the rounds before it are whole.
        lines.pop()
        notes = ("The last line of history.jsonl is cut short and was left out.",)
    rounds: dict[int, Round] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}, line {number}"
            record = parse_round(Fields(where, _parse_json(where, line)))
            # The file is only ever appended to: a round that a resumed run did again is there twice.
            rounds[record.round] = record
    if not rounds:
        raise DataError(f"{path}: no round is recorded, so there is nothing to report")
    return tuple(rounds[number] for number in sorted(rounds)), notes


def _read_summary(path: Path, settings: Settings, rounds: tuple[Round, ...]) -> Summary | None:
    """Read the summary; None without one that speaks of just the rounds asked for and recorded.

    A run that is resumed for more rounds and dies leaves the summary of the shorter run behind.
    """
    if not path.exists():
        return None
    fields = Fields(str(path), _parse_json(str(path), _read_text(path)))
    summary = parse_summary(fields)
    return summary if fields.whole("rounds") == settings.rounds == rounds[-1].round else None


def _read_partition(path: Path) -> tuple[Partition | None, str | None]:
    """Read the partition, if it is known; else say why it is not."""
    if not path.exists():
        return None, "There is no partition.json, so the partition is not shown."
    fields = Fields(str(path), _parse_json(str(path), _read_text(path)))
    if "counts" not in fields and fields.text("name") == REAL_SILOS:
        return None, "The silos keep to themselves how many samples of each class they have."
    return parse_partition(fields), None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; is this the directory of a run?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _parse_json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON: {error.msg} at column {error.colno}") from None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True
