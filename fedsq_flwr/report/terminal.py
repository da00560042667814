"""A run in the terminal: its rounds as they come, and its results at the end."""

import time
from collections import deque
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from fedsq_flwr.records.history import Line, is_finite, score
from fedsq_flwr.records.summary import SUMMARY, Summary
from fedsq_flwr.report import captions, measure_tables, numerals
from fedsq_flwr.report.page import REPORT_NAME
from fedsq_flwr.settings.run import Selection

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
LABEL = 27  # characters before a result
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
    select_by : str
        The measure by which a round is better than those before it.
    """

    def __init__(self, rounds: int, silos: int, console: Console, select_by: Selection = "accuracy") -> None:
        self._rounds = rounds
        self._silos = silos
        self._console = console
        self._select_by: Selection = select_by
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._best: float | None = None
        self._names: dict[int, str] = {}
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
        """Show a status line until the next round is finished."""
        self._phase = printable(text)
        self._since = time.monotonic()
        if self._live is not None:
            self._live.refresh()
        else:
            self._print(Text(self._phase, style="dim"))

    def warn(self, text: str) -> None:
        """Print a warning; the run goes on."""
        self._print(Text(printable(text), style="yellow"))

    def add(self, line: Line) -> None:
        """Print a round that is done."""
        if is_finite(line.seconds):
            self._recent.append(line.seconds)
        left = self._time_left(self._rounds - line.round)
        if not self._begun:
            self._print(_row([heading for heading, _ in COLUMNS], style="bold"))
            self._begun = True
        self._print(self._round(line, left))
        self._names |= line.silo_names
        if line.dropped:
            self._print(Text(f"           {printable(captions.of_drops(line.dropped, self._names))}", style="yellow"))
        following = line.round + 1
        self._phase = f"round {following}/{self._rounds}" if following <= self._rounds else ""
        self._since = time.monotonic()

    def _round(self, line: Line, left: float | None) -> Text:
        cells = [
            f"{line.round}/{self._rounds}",
            numerals.loss(line.train_loss),
            numerals.loss(line.loss),
            numerals.accuracy(line.accuracy),
            numerals.accuracy(line.test_accuracy),
            captions.answered(line, self._silos),
            numerals.NOTHING if line.seconds is None else f"{line.seconds:.1f}",
            numerals.NOTHING if left is None else numerals.clock(left),
        ]
        value = score(line, self._select_by)
        better = value is not None and (self._best is None or value > self._best)
        if better:
            self._best = value
        return _row(cells, highlight=(2 if self._select_by == "loss" else 3) if better else None)

    def _time_left(self, rounds: int) -> float | None:
        """Estimate the time left from this attempt's rounds: earlier ones may be from another machine."""
        return rounds * sum(self._recent) / len(self._recent) if self._recent else None

    def _waiting(self) -> Spinner | Text:
        """Show the status and its duration below the table."""
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


def print_summary(summary: Summary, directory: Path, console: Console) -> None:
    """Print the results of a run and where its files are.

    Parameters
    ----------
    summary : Summary
        The run's.
    directory : Path
        The run's.
    console : Console
        Where to print.
    """
    title = (
        f"{summary.method} on {summary.data_title}, {numerals.count(summary.silos, 'silo')}, seed {summary.seed}: "
        f"{numerals.count(summary.stopped or summary.rounds, 'round')} in {numerals.duration(summary.wall_seconds)}"
    )
    lines = [Text(), Text(title, style="bold")]
    lines += [
        Text.assemble(f"  {label:<{LABEL}}", (value, "bold"), f"  {detail}".rstrip())
        for label, value, detail in _results(summary)
    ]
    # Paths are never broken or cut, so that they can be copied.
    page = directory / REPORT_NAME
    make = f"fedsq report {quote(str(directory))}  (makes {REPORT_NAME})"
    lines += [
        Text(),
        Text(f"  report   {page if page.exists() else make}"),
        Text(f"  numbers  {directory / SUMMARY}"),
    ]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _results(summary: Summary) -> list[tuple[str, str, str]]:
    """Return the results: label, value and remark."""
    best = f"round {summary.rounds_to_best}"
    if summary.select_by != "accuracy":
        best += f", the best by {measure_tables.selected(summary)}"
    rows = []
    if summary.stopped is not None:
        rows.append(("stopped early", f"round {summary.stopped} of {summary.rounds}", "no improvement (stop_after)"))
    rows += [("best validation accuracy", numerals.accuracy(summary.best_accuracy), best)]
    if summary.test_accuracy is not None or summary.final_accuracy is not None:
        rows += [
            ("test accuracy of the best", numerals.accuracy(summary.test_accuracy), ""),
            ("final test accuracy", numerals.accuracy(summary.final_accuracy), ""),
        ]
    if summary.test_measures is not None:
        rows += [
            (f"test {measure_tables.NAMES[row.key]}", row.test, row.test_interval)
            for row in measure_tables.measure_rows(summary)
            if row.key != "accuracy"
        ]
    if summary.has_plain_form:
        detail = f"of the best; final {numerals.accuracy(summary.plain_final_accuracy)} (plain form)"
        rows.append(("test with its own ReLUs", numerals.accuracy(summary.plain_test_accuracy), detail))
    if (worst := captions.worst_silo(summary)) is not None:
        detail = f"silo {worst.title}; mean of the silos {numerals.accuracy(summary.silo_accuracy_mean)}"
        rows.append(("worst silo", numerals.accuracy(summary.silo_accuracy_worst), detail))
    traffic = f"{numerals.traffic(summary.bytes_up)} up, {numerals.traffic(summary.bytes_down)} down"
    rows.append(("traffic", traffic, ""))
    if summary.privacy is not None:
        epsilon = f"epsilon {summary.privacy.epsilon:.3g}"
        rows.append(("privacy of the model", epsilon, captions.of_privacy(summary.privacy)))
    if summary.batch_norm == "local":
        rows.append(("batch norm", "local", "the silos' own figures are the fair ones"))
    return rows


def _row(cells: list[str], style: str = "", highlight: int | None = None) -> Text:
    row = Text(style=style)
    for number, (cell, (_, width)) in enumerate(zip(cells, COLUMNS, strict=True)):
        row.append("  " if number else "")
        row.append(f"{cell:>{width}}", style="bold green" if number == highlight else None)
    return row


def printable(text: str) -> str:
    """Replace control characters, with which a silo's text could change the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
