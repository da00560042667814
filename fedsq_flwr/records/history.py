"""A run's history: one JSON line a round, appended when the round is over, never rewritten."""

import json
import math
import os
from pathlib import Path
from typing import Any

from fedsq_flwr.errors import DataError

Line = dict[str, Any]


class History:
    """The file ``history.jsonl`` of a run.

    Parameters
    ----------
    path : Path
        Where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Line]:
        """Return the lines of all finished rounds; none if there is no file.

        A last line without its newline is what a run that died in mid-write leaves; it is not returned.

        Raises
        ------
        DataError
            If a finished line is no JSON; names the file and the line.
        """
        if not self.path.exists():
            return []
        lines = []
        for number, text in enumerate(self.path.read_text(encoding="utf-8").split("\n")[:-1], start=1):
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError as error:
                raise DataError(f"{self.path} line {number} is not JSON: {error}") from error
        return lines

    def append(self, line: Line) -> None:
        """Add a round; it is on the disk when this returns. Values that are not finite become null."""
        text = json.dumps(_finite(line), allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())

    def repair(self, last: Line) -> None:
        """Make the file end with the round ``last``, the one of the checkpoint that a run resumes from.

        A half-written last line is cut off, and a round whose checkpoint was written when the run died
        before its line was is added.

        Raises
        ------
        DataError
            If the file holds rounds after ``last``: the checkpoint is not this run's newest.
        """
        lines = self.read()
        if self.path.exists():
            with self.path.open("r+b") as file:
                content = file.read()
                file.truncate(content.rfind(b"\n") + 1)
        newest = lines[-1]["round"] if lines else 0
        if newest > last["round"]:
            raise DataError(
                f"{self.path} holds round {newest}, but the checkpoint to resume from is of round {last['round']}"
            )
        if newest < last["round"]:
            self.append(last)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
