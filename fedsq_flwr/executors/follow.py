"""Following a file of JSON lines while another process appends to it."""

import json
import os
from pathlib import Path
from typing import Any

from fedsq_flwr.errors import RunFailedError


class JsonLinesFollower:
    """Reads the lines that are appended to a file after this object was made.

    The file need not exist yet. A line counts once its newline is there; half a line that a dead
    writer left is read when, and if, the next writer has cut it off or completed it. A file that was
    replaced, or cut back into lines read already, is read from its beginning.

    Parameters
    ----------
    path : Path
        The file to follow.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._position = 0  # behind the last newline that was read, never in mid-line
        self._new_lines()

    def read(self) -> list[dict[str, Any]]:
        """Return the lines completed since the last call, oldest first.

        Raises
        ------
        RunFailedError
            A complete line is not a JSON object.
        """
        return [self._parse(line) for line in self._new_lines() if line.strip()]

    def _new_lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._position:
                    self._inode, self._position = status.st_ino, 0
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        complete = data[: data.rfind(b"\n") + 1]
        self._position += len(complete)
        return complete.splitlines()

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise RunFailedError(f"{self._path}: not a JSON object: {line[:80].decode(errors='replace')!r}")
        return value
