"""The lines of a log, as text or JSON: time with its zone, level, and run, round and silo where they are known."""

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.silo import titled

#: The environment variable that chooses the format of logs, and what it may be.
FORMAT, TEXT, JSON = "FEDSQ_LOG_FORMAT", "text", "json"

Fields = dict[str, object]

#: What a message is about, in its template: ``round %d`` and the like.
_ABOUT = re.compile(r"(?:\b(run|round|silo) )?(?<!%)%[-#0 +]*\d*(?:\.\d+)?[a-z]")
_MEANWHILE: ContextVar[Fields | None] = ContextVar("meanwhile", default=None)


def log_format() -> str:
    """Return the format that the environment asks for.

    Raises
    ------
    ConfigurationError
        If there is no such format.
    """
    told = os.environ.get(FORMAT) or TEXT
    if told not in (TEXT, JSON):
        raise ConfigurationError(f"{FORMAT}={told}: must be {TEXT} or {JSON}")
    return told


def log_formatter(*, named: bool = True, **fields: object) -> logging.Formatter:
    """Return what formats the records of a log.

    Parameters
    ----------
    named : bool
        Whether text names the logger of each line.
    **fields
        What every line of the log is about, such as its run, or the silo whose log it is. In text, the silo begins
        the message; a run is that of the log's directory.

    Raises
    ------
    ConfigurationError
        As `log_format`.
    """
    return _JsonLines(fields) if log_format() == JSON else _TextLines(fields, named=named)


@contextmanager
def meanwhile(**fields: object) -> Iterator[Fields]:
    """Have the lines that this thread logs in the meantime know ``fields``, and what is added to these."""
    told = {**(_MEANWHILE.get() or {}), **fields}
    token = _MEANWHILE.set(told)
    try:
        yield told
    finally:
        _MEANWHILE.reset(token)


def fields_of(record: logging.LogRecord) -> Fields:
    """Return the run, round and silo of a record: those of its template, and those that are known meanwhile.

    What silos and servers say is not searched: it could name any.
    """
    told = dict(_MEANWHILE.get() or {})
    if isinstance(record.msg, str) and isinstance(record.args, tuple):
        for found, value in zip(_ABOUT.finditer(record.msg), record.args, strict=False):
            if found[1]:
                told[found[1]] = value
    return told


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


class _TextLines(logging.Formatter):
    def __init__(self, fields: Fields, *, named: bool) -> None:
        name = "%(name)s: " if named else ""
        title = titled(str(fields["silo_name"]).replace("%", "%%")) if fields.get("silo_name") else ""
        silo = f"silo {fields['silo']}{title}: " if "silo" in fields else ""
        super().__init__(f"%(asctime)s %(levelname)s {name}{silo}%(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        return _time_of(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        record.message = "".join(letter if letter.isprintable() else " " for letter in record.message)
        return super().formatMessage(record)


class _JsonLines(logging.Formatter):
    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self._fields = {name: value for name, value in fields.items() if value is not None}

    def format(self, record: logging.LogRecord) -> str:
        told: Fields = {"time": _time_of(record), "level": record.levelname, "logger": record.name}
        told |= {**self._fields, **fields_of(record)}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps({**told, "message": record.getMessage()}, default=str)
