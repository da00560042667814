"""After Ctrl-C: the command that goes on where this one stopped."""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fedsq_flwr.settings.overrides import key_of, quoted

#: Overrides that the command to go on states itself.
_STATED = ("output", "resume", "hydra.run.dir")
#: Paths that Hydra reads without quotes.
_PLAIN = re.compile(r"[\w./-]+")


class InterruptedWorkError(KeyboardInterrupt):
    """Ctrl-C during work that can go on.

    Parameters
    ----------
    command : str
        The command that goes on, as a shell reads it.
    """

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command


@contextmanager
def telling_how_to_go_on(words: Sequence[str], *, can_resume: bool = True) -> Iterator[None]:
    """Turn Ctrl-C into an `InterruptedWorkError`, where the work can go on.

    Parameters
    ----------
    words : sequence of str
        The command that goes on, without ``fedsq``.
    can_resume : bool
        Whether it does.

    Raises
    ------
    InterruptedWorkError
        If Ctrl-C is pressed meanwhile.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if not can_resume:
            raise
        raise InterruptedWorkError(shlex.join(["fedsq", *words])) from error


def resuming(overrides: Sequence[str], output: str) -> list[str]:
    """Return the overrides of a run that resumes the run in ``output``, which had ``overrides``."""
    kept = [override for override in overrides if key_of(override) not in _STATED]
    return [*kept, f"output={output if _PLAIN.fullmatch(output) else quoted(output)}", "resume=true"]
