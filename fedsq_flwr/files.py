"""Writing a file in one step, so that nobody sees half of it, or loses the old one to a full disk."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, replacing what is there, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; then nothing is left behind.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
