"""The command line that started a run, known to every process of the run on the same machine."""

import os
import re
import shlex
import sys
from pathlib import Path

#: The environment's variable in which an executor hands it on.
COMMAND = "FEDSQ_COMMAND"


def command_line() -> str | None:
    """Return the command line that started the run; None in a process of Flower's that was not told."""
    program = Path(sys.argv[0]).name
    own = None if program.startswith(("flwr", "flower")) else " ".join([program, *map(_quoted, sys.argv[1:])])
    return os.environ.get(COMMAND) or own


def _quoted(word: str) -> str:
    """Quote a word for a shell, in double quotes where it holds single ones, as paths in overrides do."""
    plain = shlex.quote(word)
    return plain if '"\'"' not in plain or re.search(r'["$`\\!]', word) else f'"{word}"'
