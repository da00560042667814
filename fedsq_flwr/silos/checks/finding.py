"""What a check came to."""

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """How a check went, as it is printed."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes
    ----------
    check : str
        The check's name.
    mark : Mark
        How it went; a silo with a `FAIL` cannot take part.
    found : str
        What was found, in one line or more.
    advice : str
        What to do about it; empty where nothing is to be done, or the error says it.
    command : str
        What can be pasted into a shell: it looks closer, or does what is advised.
    """

    check: str
    mark: Mark
    found: str
    advice: str = ""
    command: str = ""


def ok(check: str, found: str) -> Finding:
    """Return that all is as it should be."""
    return Finding(check, Mark.OK, found)


def warn(check: str, found: str, advice: str, command: str = "") -> Finding:
    """Return that a silo can join, and that something is not as it should be."""
    return Finding(check, Mark.WARN, found, advice, command)


def fail(check: str, found: object, advice: str = "", command: str = "") -> Finding:
    """Return that a silo cannot join, or will fail in a run; ``found`` may be the error."""
    return Finding(check, Mark.FAIL, str(found), advice, command)


def skip(check: str, needs: str) -> Finding:
    """Return that a check could not be made, since the one that it ``needs`` failed."""
    return Finding(check, Mark.SKIP, f"not checked: needs {needs}")
