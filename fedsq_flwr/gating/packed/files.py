"""The files of a gate cache on disk: their names, and the room that they leave each other."""

import logging
from pathlib import Path

_SUFFIX = ".gates"
_PREFIX = 16  # characters of the structure's fingerprint in a file's name

log = logging.getLogger(__name__)


def file_of(directory: Path, fingerprint: str, key: str) -> Path:
    """Return the file of the rows kept under ``key``; its name begins with the structure's fingerprint."""
    return directory / f"{fingerprint[:_PREFIX]}-{key[:24]}{_SUFFIX}"


def room_on_disk(own: Path, wanted: int, max_bytes: int) -> int:
    """Return the bytes that ``own`` may take, so that all files of its folder stay within ``max_bytes``.

    Files of other structures make way for it, the longest unchanged first; those of its own do not, or
    two data sets would drive each other out for ever.
    """
    others = [(file, file.stat()) for file in own.parent.glob(f"*{_SUFFIX}") if file != own]
    used = sum(stat.st_size for _, stat in others)
    for file, stat in sorted(others, key=lambda other: other[1].st_mtime):
        if used + wanted > max_bytes and file.name[:_PREFIX] != own.name[:_PREFIX]:
            file.unlink(missing_ok=True)  # a process that has it mapped keeps its view
            used -= stat.st_size
            log.info("gate cache: %s, of another structure, made room", file.name)
    return max(0, max_bytes - used)
