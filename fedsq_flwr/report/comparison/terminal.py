"""The comparison in the terminal: a small table a condition, within 80 columns."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedsq_flwr.report import numerals
from fedsq_flwr.report.comparison import captions, measures
from fedsq_flwr.report.comparison.analysis import Comparison, Row, Section
from fedsq_flwr.report.comparison.tables import difference_texts, figure, seeds_of
from fedsq_flwr.report.measure_tables import NAMES
from fedsq_flwr.report.terminal import printable

WIDTH = 80
HEADINGS = ("best val", "to target", "test")
METHOD = 19  # characters of a method's column beside that of differences
INTERVAL = 23  # characters of a difference with its interval
LISTED = 5  # runs that went wrong


def print_comparison(comparison: Comparison, paths: list[Path], console: Console) -> None:
    """Print each method at its best setting, which runs are missing, and where the files are.

    Parameters
    ----------
    comparison : Comparison
        What was compared.
    paths : list of Path
        The files that were written.
    console : Console
        Where to print.
    """
    for section in comparison.sections:
        if section.finished:
            console.print(_table(section, comparison), width=WIDTH)
    if captions.tally(comparison):
        console.print(Text(captions.tally(comparison), style="yellow"))
        for entry in comparison.incomplete[:LISTED]:
            words = ": ".join(filter(None, (entry.name, entry.state.value, entry.problem)))
            console.print(Text(f"  {printable(words)}"), soft_wrap=True, highlight=False)
        if len(comparison.incomplete) > LISTED:
            console.print(f"  and {len(comparison.incomplete) - LISTED} more, in the report", highlight=False)
    for path in paths:
        # Paths are never broken or cut, so that they can be copied.
        console.print(Text(str(path)), soft_wrap=True, highlight=False)


def _table(section: Section, comparison: Comparison) -> Table:
    by = "" if section.select_by == "accuracy" else f"by {NAMES[section.select_by]}; "
    title = f"{section.condition.label}; {by}target {section.target:g}"
    table = Table(title=Text(printable(title)), title_justify="left", box=None, pad_edge=False, title_style="bold")
    table.add_column("method", overflow="fold", max_width=METHOD if comparison.baseline else 2 * METHOD)
    table.add_column("seeds", justify="right", no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    if comparison.baseline is not None:
        table.add_column(f"best val vs {comparison.baseline}", justify="right", min_width=INTERVAL)
    for row in section.best:
        table.add_row(*_cells(row, section, comparison))
    return table


def _cells(row: Row, section: Section, comparison: Comparison) -> list[Text]:
    setting = f"\n{printable(row.cell.label)}" if row.cell.label else ""
    cells = [Text.assemble(printable(row.cell.arm.label), (setting, "dim")), Text(seeds_of(row))]
    best, test = measures.SELECTING[section.select_by]
    for measure in (best, measures.TARGET, test):
        told = figure(row, measure, section.best)
        cells.append(Text(told.value.removeprefix("not reached") or "never", style="bold" if told.leads else ""))
    if comparison.baseline is not None:
        difference = row.differences.get(best.key)
        texts = difference_texts(difference, best) if difference else (numerals.NOTHING,)
        cells.append(Text(" ".join(texts), no_wrap=True))
    return cells
