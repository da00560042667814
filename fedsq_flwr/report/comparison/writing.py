"""The files of a comparison: the page, all figures of each run as CSV, the tables as Markdown."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedsq_flwr.errors import DataError
from fedsq_flwr.report.comparison import captions, measures, tables, verdict
from fedsq_flwr.report.comparison.analysis import Comparison
from fedsq_flwr.report.comparison.collecting import Entry
from fedsq_flwr.report.comparison.grouping import Cell
from fedsq_flwr.report.comparison.measures import MEASURES
from fedsq_flwr.report.comparison.page import CSV_NAME, draw, render
from fedsq_flwr.report.comparison.settings import SEED
from fedsq_flwr.report.page import REPORT_NAME, fill, write_figures, write_text

MARKDOWN_NAME = "report.md"


def write_comparison(comparison: Comparison, output: Path, command: str, *, pdf: bool = False) -> list[Path]:
    """Write ``report.html``, ``report.csv``, ``report.md`` and ``figures/``, each file in one step.

    Parameters
    ----------
    comparison : Comparison
        What is written.
    output : Path
        The directory; it is made if it is not there.
    command : str
        What makes them again, for the page to say.
    pdf : bool
        Whether figures are written as PDF, too.

    Returns
    -------
    list of Path
        The page and the two files beside it.

    Raises
    ------
    DataError
        If one cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{output}: cannot be made: {error.strerror}") from None
    drawn = draw(comparison)
    kinds = write_figures(output, drawn.all, pdf=pdf)
    contents = {
        REPORT_NAME: render(comparison, drawn, kinds, output, command),
        CSV_NAME: runs_csv(comparison),
        MARKDOWN_NAME: markdown(comparison),
    }
    for name, content in contents.items():
        write_text(output / name, content)
    return [output / name for name in contents]


def markdown(comparison: Comparison) -> str:
    """Write the verdicts and tables in Markdown."""
    return fill(
        "comparison.md",
        comparison=comparison,
        overview=tables.overview(comparison),
        caption=captions,
        tables=tables,
        verdict=verdict.verdict,
        on_seeds=verdict.on_seeds(comparison),
        titles={"validation": ", validation", "test": ", test", "silos": "", "": ""},
    )


def runs_csv(comparison: Comparison) -> str:
    """Write a row a run: where it is, how far it came, what varies, and all figures; empty is not known.

    A run that stands in several conditions has a row in each.
    """
    names = comparison.groups.names
    figures = [each.key for each in MEASURES]
    heads = ["run", "state", "problem", "condition", "method", SEED, *names, "target", *figures]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, heads, lineterminator="\n")
    writer.writeheader()
    for entry in comparison.groups.entries:
        homes: Sequence[Cell | None] = comparison.groups.homes.get(entry.directory, [None])
        for home in homes:
            writer.writerow(_row(entry, home, comparison))
    return buffer.getvalue()


def _row(entry: Entry, home: Cell | None, comparison: Comparison) -> dict[str, Any]:
    row: dict[str, Any] = {"run": entry.name, "state": entry.state.value, "problem": entry.problem}
    row |= {name: entry.values[name] for name in comparison.groups.names if entry.values.get(name) is not None}
    if home is None or entry.run is None:
        return row
    target = next(section.target for section in comparison.sections if section.condition == home.condition)
    row |= {"condition": home.condition.label, "method": home.arm.label, "target": target}
    row[SEED] = entry.run.settings.seed
    row |= {each.key: measures.read(each, entry.run, target) for each in MEASURES}
    if not measures.reaches(entry.run, target):
        row[measures.TARGET.key] = None
    return row
