"""``fedsq runs``: the runs in and below a directory, a line each."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.text import Text

from fedsq_flwr.records.runs import Standing, State, standings
from fedsq_flwr.report import numerals
from fedsq_flwr.report.terminal import printable

#: Heading, and whether its column is flush right.
_COLUMNS = (("began", False), ("state", False), ("rounds", True), ("best", True), ("took", True), ("what", False))
STYLES: Mapping[State, str] = MappingProxyType(
    {
        State.RUNNING: "bold",
        State.FINISHED: "green",
        State.STOPPED: "green",
        State.FAILED: "red",
        State.INTERRUPTED: "yellow",
        State.DAMAGED: "red",
    }
)
_INDENT = "  "


def runs(directory: Path, *, as_json: bool = False) -> None:
    """Print the runs in and below a directory, the earliest first, with what is wrong with those that are damaged.

    Parameters
    ----------
    directory : Path
        A run's, or one with runs below it.
    as_json : bool
        Print a list of objects instead.

    Raises
    ------
    DataError
        If there is no such directory.
    """
    found = standings(directory)
    if as_json:
        print(json.dumps([run.plain() for run in found], indent=2, allow_nan=False))  # noqa: T201 - the output
        return
    console = Console(highlight=False)
    if not found:
        console.print(Text(f"no run is in or below {printable(str(directory))}"), soft_wrap=True)
        return
    for line in table(found, console.width):
        console.print(line, soft_wrap=True)


def table(found: Sequence[Standing], width: int) -> list[Text]:
    """Return the lines of the table. Where paths do not fit beside the figures, each is below them, whole."""
    rows = [[heading for heading, _ in _COLUMNS], *(_cells(run) for run in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    places = [printable(str(run.directory)) for run in found]
    beside = sum(widths) + len(_INDENT) * len(widths) + max(map(len, places)) <= width
    heading = _row(rows[0], widths, "where" if beside else "", "bold", "bold")
    lines = [heading if beside else heading + Text(" / where", style="bold")]
    for run, cells, place in zip(found, rows[1:], places, strict=True):
        lines.append(_row(cells, widths, place if beside else "", "", STYLES[run.state]))
        lines += [] if beside else [Text(f"{_INDENT}{place}", style="dim")]
        wrapped = textwrap.wrap(printable(run.problem), max(20, width - 2 * len(_INDENT)), break_long_words=False)
        lines += [Text(f"{2 * _INDENT}{part}", style=STYLES[run.state]) for part in wrapped]
    return lines


def _cells(run: Standing) -> list[str]:
    settings, done = run.settings, run.lines[-1].round if run.lines else 0
    what = "-" if settings is None else f"{settings.method.name} {settings.data.name} seed {settings.seed}"
    return [
        "-" if run.began is None else f"{run.began:%Y-%m-%d %H:%M}",
        str(run.state),
        f"{done}/{'?' if settings is None else settings.rounds}",
        numerals.loss(run.best_value),
        numerals.duration(run.seconds),
        what,
    ]


def _row(cells: Sequence[str], widths: Sequence[int], place: str, style: str, of_state: str) -> Text:
    row = Text(style=style)
    for cell, width, (heading, right) in zip(cells, widths, _COLUMNS, strict=True):
        told = cell if heading == "what" and not place else f"{cell:>{width}}" if right else f"{cell:<{width}}"
        row.append(told, style=of_state if heading == "state" else None).append(_INDENT)
    row.append(place)
    row.rstrip()
    return row
