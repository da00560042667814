"""The tables of the comparison, as texts: the page, Markdown and the terminal only set them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from fedsq_flwr.report.comparison import wording
from fedsq_flwr.report.comparison.analysis import Comparison, Row, Section
from fedsq_flwr.report.comparison.measures import MEASURES, SPLITS, Measure
from fedsq_flwr.report.comparison.wording import Figure


@dataclass(frozen=True)
class Line:
    """A row: what it is of, and its figures, one a column."""

    method: str
    setting: str
    seeds: str
    against: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Table:
    """Measures as columns, cells as rows.

    ``groups`` are the headings above the columns' with the number of columns below each; ``settings`` and
    ``against`` tell whether these columns have something to say.
    """

    groups: tuple[tuple[str, str, int], ...]  # split, title, columns
    measures: tuple[Measure, ...]
    lines: tuple[Line, ...]
    settings: bool
    against: bool


def main_table(section: Section, comparison: Comparison) -> Table:
    """Make the table of each method at its best setting."""
    return _table(section.best, comparison, main=True)


def full_table(section: Section, comparison: Comparison) -> Table:
    """Make the table of all cells and all figures."""
    return _table(section.rows, comparison, main=False)


def _table(rows: Sequence[Row], comparison: Comparison, *, main: bool) -> Table:
    measures = [
        measure
        for measure in MEASURES
        if (measure.main or not main) and any(measure.key in row.spreads for row in rows)
    ]
    groups = [(split, list(same)) for split, same in groupby(measures, key=lambda measure: measure.split)]
    references = {row.against.arm for row in rows if row.against}
    return Table(
        groups=tuple((split, SPLITS[split], len(same)) for split, same in groups),
        measures=tuple(measures),
        lines=tuple(_line(row, rows, measures, comparison) for row in rows),
        settings=any(row.cell.label for row in rows),
        against=len(references) > 1,
    )


def _line(row: Row, rows: Sequence[Row], measures: Sequence[Measure], comparison: Comparison) -> Line:
    return Line(
        method=row.cell.arm.label,
        setting=row.cell.label,
        seeds=wording.seeds(row, comparison),
        against=row.against.arm.label if row.against else "",
        figures=tuple(wording.figure(row, measure, rows) for measure in measures),
    )
