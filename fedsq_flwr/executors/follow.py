"""Following a run's history while another process appends to it."""

import os
from pathlib import Path

from fedsq_flwr.files import opened
from fedsq_flwr.records.history import LARGEST, Line, parse_line


class JsonLinesFollower:
    """Reads the rounds that are appended to a history after this object was made.

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

    def read(self) -> list[Line]:
        """Return the rounds completed since the last call, oldest first.

        Raises
        ------
        DataError
            If the file cannot be read, or a complete line is damaged.
        """
        return [parse_line(line, f"{self._path}, a new line") for line in self._new_lines() if line.strip()]

    def _new_lines(self) -> list[bytes]:
        if not self._path.exists():
            return []
        with opened(self._path, at_most=LARGEST) as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._position:
                self._inode, self._position = status.st_ino, 0
            file.seek(self._position)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._position += len(complete)
        return complete.split(b"\n")
