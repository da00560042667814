"""Texts that name files and folders, of which some can be the name of none."""

import os
from pathlib import Path

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.mistakes import written

_LONGEST_PART, _LONGEST = 255, 4095  # bytes, of the file systems and the kernel of Linux; others allow about as many


def as_path(text: str) -> Path:
    """Return the path that ``text`` names, with the home folder of a user for ``~``.

    The disk is not looked at.

    Raises
    ------
    ValueError
        If no file can have this name; the message says why.
    """
    if "\0" in text:
        raise ValueError("names no file, since it has a character of value 0")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"names no file, since there is no user {Path(text).parts[0].lstrip('~')}") from None
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > _LONGEST_PART or len(os.fsencode(path.absolute())) > _LONGEST:
        raise ValueError(f"names no file: at most {_LONGEST_PART} bytes a part, and {_LONGEST} in all")
    return path


def expanded(name: str, text: str) -> Path:
    """Return what `as_path` does for the value ``text`` of the setting ``name``.

    Raises
    ------
    ConfigurationError
        One line that names the setting, if no file can have this name.
    """
    try:
        return as_path(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}={written(text)}: {error}") from None
