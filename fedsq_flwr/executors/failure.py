"""The reason why a run failed, in one line: from the server app, or from its log."""

import re
from collections.abc import Iterable
from pathlib import Path

from fedsq_flwr.errors import DataError
from fedsq_flwr.records.summary import read_failure

_TRACEBACK = "Traceback (most recent call last):"
_MODULES = re.compile(r"^(?:[a-z_]\w*\.)+(?=[A-Z])")  # what precedes the name of an exception
_ERROR_LEVEL = re.compile(r"^(?:\d\S* )?(?:ERROR|CRITICAL)\b(?: \[\S+\])?[ :]*(?P<text>\S.*)")
_BOX = re.compile(r"^│ (?P<text>.*?) *│$")  # how `flwr` frames what it complains about
# Flower's text around the error.
_WRAPPERS = (
    "RuntimeError: An error was encountered. Ending simulation.",
    "RuntimeError: Simulation Runtime crashed.",
    "Exit Code: ",
    "Simulation raised an exception",
)


def written_error(path: Path) -> str | None:
    """Return the error in a server app's ``failure.json`` as one line; None if there is none, or none can be read."""
    try:
        return read_failure(path.parent)
    except DataError:
        return None


def logged_error(lines: Iterable[str]) -> str | None:
    """Return the line of a log that explains a failure best, or None.

    That is the last exception of a traceback; without one, what `flwr` complains about or the last
    line of level ERROR.
    """
    exceptions: list[str] = []
    errors: list[str] = []
    box: list[str] = []
    in_traceback = False
    for line in lines:
        if line == _TRACEBACK:
            in_traceback = True
        elif in_traceback:
            if line and not line.startswith(" "):
                in_traceback = False
                exceptions.append(_MODULES.sub("", line))
        elif match := _ERROR_LEVEL.match(line):
            errors.append(match["text"])
        elif match := _BOX.match(line):
            box.append(match["text"])
    for candidates in (exceptions, [" ".join(box)], errors):
        for candidate in reversed(candidates):
            if candidate and not candidate.startswith(_WRAPPERS):
                return candidate
    return None
