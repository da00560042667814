"""A sweep in the terminal: a line for each finished job, and a status line."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote

from rich.console import Console
from rich.live import Live
from rich.text import Text

from fedsq_flwr.errors import DataError
from fedsq_flwr.records.history import HISTORY, History
from fedsq_flwr.report import numerals
from fedsq_flwr.report.terminal import printable
from fedsq_flwr.sweeps.outcomes import Event, State

# Heading and width of each column; then what tells the job from others, as long as it is.
COLUMNS = (("job", 7), ("best", 5), ("round", 5), ("test", 5), ("time", 7), ("left", 7))
GAP = "  "


class SweepProgress:
    """What a person sees of a sweep; jobs that were there already are counted, not listed.

    Parameters
    ----------
    total : int or None
        How many jobs there are, if that is known.
    label : callable
        Makes of a job's overrides what tells it from the others.
    console : Console
        Where to print.
    """

    def __init__(self, total: int | None, label: Callable[[Sequence[str]], str], console: Console) -> None:
        self._total = total
        self._label = label
        self._console = console
        self._since = time.monotonic()
        self._over: list[Event] = []
        self._running: dict[int, Event] = {}
        self._there = 0  # of them, those that were not told of yet
        self._begun = False
        self._live: Live | None = None

    @property
    def over(self) -> tuple[Event, ...]:
        """The jobs that are over, in the order in which they ended."""
        return tuple(self._over)

    def of(self, state: State) -> list[Event]:
        """Return the jobs that ended in `state`."""
        return [event for event in self._over if event.state is state]

    def label(self, event: Event) -> str:
        """Return the label that distinguishes a job from the others."""
        return printable(self._label(event.overrides))

    def start(self) -> None:
        """Start the status line if the output is a terminal."""
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._status, console=self._console, refresh_per_second=4, transient=True
            )
            self._live.start()

    def stop(self) -> None:
        """Stop the status line."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._tell_of_those_there()

    def add(self, event: Event) -> None:
        """Record an event, and print a line for a finished job."""
        if event.state is State.RUNNING:
            self._running[event.number] = event
            return
        self._running.pop(event.number, None)
        self._over.append(event)
        if event.state is State.THERE:
            self._there += 1
            return
        self._tell_of_those_there()
        if not self._begun:
            self._print(_row([heading for heading, _ in COLUMNS], "settings", style="bold"))
            self._begun = True
        self._print(self._failure(event) if event.state is State.FAILED else self._result(event))

    def close(self, output: str, *, best: bool = False) -> None:
        """Print how all jobs ended, the best job if asked for, and the next command."""
        counts = [(len(self.of(state)), state) for state in (State.FINISHED, State.THERE, State.FAILED)]
        words = {State.FINISHED: "finished", State.THERE: "there already", State.FAILED: "failed"}
        told = ", ".join(f"{count} {words[state]}" for count, state in counts if count)
        seconds = time.monotonic() - self._since
        self._print(Text())
        head = f"{numerals.count(len(self._over), 'job')} in {numerals.duration(seconds)}"
        self._print(Text(f"{head}: {told}" if told else head, style="bold"))
        measured = [event for event in self._over if event.best is not None]
        if best and measured:
            first = max(measured, key=lambda event: event.best or 0.0)
            self._print(Text(f"  best     {numerals.accuracy(first.best)}  {self.label(first)}"))
        if len(self.of(State.FAILED)) < len(self._over):
            self._print(Text(f"  report   fedsq report {quote(output)}"))

    def _result(self, event: Event) -> Text:
        left = self._left()
        cells = [
            self._number(),
            numerals.accuracy(event.best),
            numerals.NOTHING if event.best is None else str(event.round),
            numerals.accuracy(event.test),
            numerals.duration(event.seconds),
            numerals.NOTHING if left is None else numerals.clock(left),
        ]
        return _row(cells, self.label(event))

    def _failure(self, event: Event) -> Text:
        cells = [self._number(), "", "", "", numerals.duration(event.seconds), ""]
        return _row(cells, f"{self.label(event)}  failed: {printable(event.error)}", style="red")

    def _number(self) -> str:
        return f"{len(self._over)}/{self._total}" if self._total else f"{len(self._over)}"

    def _left(self) -> float | None:
        """Estimate the time left from the jobs that ran; jobs that were finished before do not count."""
        if not self._total or not (ran := len(self.of(State.FINISHED))):
            return None
        return max(0, self._total - len(self._over)) * (time.monotonic() - self._since) / ran

    def _tell_of_those_there(self) -> None:
        if self._there:
            self._print(Text(f"{numerals.count(self._there, 'job')} there already", style="dim"))
            self._there = 0

    def _status(self) -> Text:
        """Show the running jobs and their rounds below the lines."""
        total = f"/{self._total}" if self._total else ""
        running = [f"job {event.number + 1}{total} {_round(event)}" for _, event in sorted(self._running.items())]
        told = ", ".join(running) or "starting"
        return Text(f"{told}  {numerals.clock(time.monotonic() - self._since)}", style="dim", no_wrap=True)

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)


def _round(event: Event) -> str:
    """Return the round that a job is in, from its history."""
    try:
        done = History(Path(event.directory) / HISTORY).finished()
    except DataError:
        done = 0
    return f"round {min(done + 1, event.rounds)}/{event.rounds}"


def _row(cells: list[str], last: str, style: str = "") -> Text:
    row = GAP.join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True))
    return Text(f"{row}{GAP}{last}", style=style)
