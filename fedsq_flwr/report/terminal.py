"""The rounds of a run in the terminal, as they come."""

import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from fedsq_flwr.report import captions, numerals
from fedsq_flwr.report.fields import Fields
from fedsq_flwr.report.parsing import parse_round
from fedsq_flwr.report.records import Round, is_finite

# Heading and width of each column: 76 characters with the two spaces between columns.
COLUMNS = (
    ("round", 9),
    ("train loss", 10),
    ("val loss", 8),
    ("val acc", 7),
    ("test acc", 8),
    ("silos", 7),
    ("seconds", 7),
    ("left", 7),
)
RECENT = 5  # rounds that the time left is told from: the first of a run are slower


class RoundTable:
    """A line a round, as soon as it is done; in a terminal also what is going on meanwhile.

    Lines are printed once and stay, so that the table may be longer than the screen and other output
    may come in between. Where the output is not a terminal, the same lines come without colour.

    Parameters
    ----------
    rounds : int
        The last round's number.
    silos : int
        All silos of the run.
    console : Console
        Where to print.
    """

    def __init__(self, rounds: int, silos: int, console: Console) -> None:
        self._rounds = rounds
        self._silos = silos
        self._console = console
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._best: float | None = None
        self._begun = False
        self._phase = ""
        self._since = time.monotonic()
        self._spinner = Spinner("dots")
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._waiting, console=self._console, refresh_per_second=8, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def status(self, text: str) -> None:
        """Say what is going on now, until the next round is done."""
        self._phase = printable(text)
        self._since = time.monotonic()
        if self._live is not None:
            self._live.refresh()
        else:
            self._print(Text(self._phase, style="dim"))

    def warn(self, text: str) -> None:
        """Say what went wrong without ending the run; the line stays."""
        self._print(Text(printable(text), style="yellow"))

    def add(self, line: Mapping[str, Any]) -> None:
        """Print a round that is done.

        Parameters
        ----------
        line : Mapping[str, Any]
            The round as ``history.jsonl`` has it.
        """
        done = parse_round(Fields("a round's record", dict(line)))
        if done.seconds is not None:
            self._recent.append(done.seconds)
        left = self._time_left(self._rounds - done.round)
        if not self._begun:
            self._print(_row([heading for heading, _ in COLUMNS], style="bold"))
            self._begun = True
        self._print(self._round(done, left))
        if done.dropped:
            self._print(Text(f"           {printable(captions.of_drops(done.dropped))}", style="yellow"))
        following = done.round + 1
        self._phase = f"round {following}/{self._rounds}" if following <= self._rounds else ""
        self._since = time.monotonic()

    def _round(self, done: Round, left: float | None) -> Text:
        cells = [
            f"{done.round}/{self._rounds}",
            numerals.loss(done.train_loss),
            numerals.loss(done.loss),
            numerals.accuracy(done.accuracy),
            numerals.accuracy(done.test_accuracy),
            captions.answered(done, self._silos),
            numerals.NOTHING if done.seconds is None else f"{done.seconds:.1f}",
            numerals.NOTHING if left is None else numerals.clock(left),
        ]
        better = is_finite(done.accuracy) and (self._best is None or done.accuracy > self._best)
        if better:
            self._best = done.accuracy
        return _row(cells, highlight=3 if better else None)

    def _time_left(self, rounds: int) -> float | None:
        """Tell it from rounds seen now: those before a resumption may be from another machine."""
        return rounds * sum(self._recent) / len(self._recent) if self._recent else None

    def _waiting(self) -> Spinner | Text:
        """Show below the table what is going on, and for how long it has."""
        if not self._phase:
            return Text("")
        seconds = time.monotonic() - self._since
        self._spinner.update(text=Text(f"{self._phase}  {numerals.clock(seconds)}", style="dim"))
        return self._spinner

    def _print(self, text: Text) -> None:
        """Print a line: cut to the width of a terminal, whole elsewhere. The console flushes it."""
        if self._live is not None:
            self._console.print(text, no_wrap=True, overflow="ellipsis", highlight=False)
        else:
            self._console.print(text, soft_wrap=True, highlight=False)


def _row(cells: list[str], style: str = "", highlight: int | None = None) -> Text:
    row = Text(style=style)
    for number, (cell, (_, width)) in enumerate(zip(cells, COLUMNS, strict=True)):
        row.append("  " if number else "")
        row.append(f"{cell:>{width}}", style="bold green" if number == highlight else None)
    return row


def printable(text: str) -> str:
    """Blank control characters, which a silo's words could steer the terminal with."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
