"""Files of keys and certificates: never overwritten, written whole, secrets for their owner alone."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from fedsq_flwr.errors import ConfigurationError

SECRET, PUBLIC = 0o600, 0o644
_OTHERS = 0o077


@dataclass(frozen=True)
class NewFile:
    """A file to be written, with the mode that it has from its first moment."""

    path: Path
    content: bytes
    mode: int


def write_new(files: Iterable[NewFile]) -> None:
    """Write all files, or none of them. Missing directories are made, for their owner alone.

    Raises
    ------
    ConfigurationError
        If one of them is there already, before anything is written, or cannot be written.
    """
    files = list(files)
    for file in files:
        if os.path.lexists(file.path):  # a link to nowhere counts
            raise ConfigurationError(f"{file.path} exists, and is not overwritten")
    with ExitStack() as undo:
        for file in files:
            try:
                file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # The mode is given to open, since a chmod afterwards would leave a moment in which others can read.
                descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
                undo.callback(file.path.unlink, missing_ok=True)
                with os.fdopen(descriptor, "wb") as opened:
                    opened.write(file.content)
            except OSError as error:
                raise ConfigurationError(f"{file.path} cannot be written: {error.strerror}") from error
        undo.pop_all()


def write_over(file: NewFile) -> None:
    """Put ``file`` in the place of the one that is there, in one step.

    Raises
    ------
    ConfigurationError
        If it cannot be written.
    """
    beside = replace(file, path=file.path.with_name(f".{file.path.name}.{os.getpid()}"))
    write_new([beside])
    try:
        beside.path.replace(file.path)
    except OSError as error:
        beside.path.unlink(missing_ok=True)
        raise ConfigurationError(f"{file.path} cannot be written: {error.strerror}") from error


def read_file(path: Path) -> bytes:
    """Return what a file holds.

    Raises
    ------
    ConfigurationError
        If it does not exist, or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path} does not exist") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def check_secret(path: Path) -> None:
    """Refuse a secret that others than its owner can reach.

    Raises
    ------
    ConfigurationError
        If its mode has a bit for the group or for others.
    """
    mode = path.stat().st_mode & 0o777
    if mode & _OTHERS:
        raise ConfigurationError(f"{path} is open to others (mode {mode:o}): chmod 600 {path}")
