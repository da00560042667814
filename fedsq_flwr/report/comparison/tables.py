"""The tables of the comparison, as texts: the page, Markdown and the terminal only set them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from fedsq_flwr.report import numerals
from fedsq_flwr.report.comparison import measures
from fedsq_flwr.report.comparison.analysis import Comparison, Row, Section
from fedsq_flwr.report.comparison.grouping import Arm
from fedsq_flwr.report.comparison.measures import MEASURES, SPLITS, Measure
from fedsq_flwr.report.comparison.statistics import Difference, Outcome


@dataclass(frozen=True)
class Figure:
    """A cell: mean and std, and below them the difference to the baseline or a remark."""

    value: str
    std: str = ""
    below: tuple[str, ...] = ()
    leads: bool = False
    outcome: Outcome | None = None


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

    Attributes
    ----------
    groups : tuple
        The headings above the columns' headings: split, title, and the number of columns below.
    measures : tuple of Measure
        The columns.
    lines : tuple of Line
        The rows.
    settings, against : bool
        Whether these columns have something to say.
    """

    groups: tuple[tuple[str, str, int], ...]
    measures: tuple[Measure, ...]
    lines: tuple[Line, ...]
    settings: bool
    against: bool


@dataclass(frozen=True)
class Overview:
    """Conditions as columns, methods as rows: each at its best setting, by the measure that chose it."""

    conditions: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Figure, ...]], ...]


def main_table(section: Section) -> Table:
    """Make the table of each method at its best setting."""
    return _table(section.best, section, main=True)


def full_table(section: Section) -> Table:
    """Make the table of all cells and all figures."""
    return _table(section.rows, section, main=False)


def overview(comparison: Comparison) -> Overview | None:
    """Make the table of methods by conditions; None where no method has finished runs under two conditions."""
    sections = [section for section in comparison.sections if section.finished]
    rows = [({row.cell.arm: row for row in section.finished}, section.selecting) for section in sections]
    arms = comparison.groups.arms
    if all(sum(arm in by_arm for by_arm, _ in rows) < 2 for arm in arms):
        return None

    def cell(arm: Arm, by_arm: dict[Arm, Row], measure: Measure) -> Figure:
        return figure(by_arm[arm], measure, list(by_arm.values())) if arm in by_arm else Figure(numerals.NOTHING)

    lines = tuple((arm.label, tuple(cell(arm, *each) for each in rows)) for arm in arms)
    return Overview(tuple(section.condition.label for section in sections), lines)


def figure(row: Row, measure: Measure, rows: Sequence[Row]) -> Figure:
    """Write one figure of a row; `rows` are those that it may lead."""
    found = row.spreads.get(measure.key)
    if found is None:
        return Figure(numerals.NOTHING)
    value = numerals.decimal(found.mean, measure.decimals)
    std = "" if found.std is None else f"± {numerals.decimal(found.std, measure.decimals)}"
    if measure is measures.TARGET and row.reached < row.n:
        if not row.reached:
            return Figure("not reached", below=(f"by any of {row.n}",))
        return Figure(f"≥ {value}", std, (f"{row.reached} of {row.n} reach it",))
    difference = row.differences.get(measure.key) if measure.better is not None else None
    return Figure(
        value,
        std,
        difference_texts(difference, measure) if difference else (),
        measure.better is not None and _leads(row, measure, rows),
        difference.outcome(higher_is_better=measure.better) if difference and measure.better is not None else None,
    )


def difference_texts(difference: Difference, measure: Measure) -> tuple[str, str]:
    """Write a difference, and its interval if it has one, else the number of its pairs."""
    mean = numerals.signed(difference.mean, measure.decimals)
    if difference.low is None or difference.high is None:
        return mean, f"({numerals.count(difference.n, 'pair')})"
    low, high = (numerals.signed(bound, measure.decimals) for bound in (difference.low, difference.high))
    return mean, f"[{low}, {high}]"


def seeds_of(row: Row) -> str:
    """Write how many seeds a row has, and of how many that were run if some did not finish."""
    wanted = len(row.cell.asked)
    return str(row.n) if row.n == wanted else f"{row.n} of {wanted}"


def _table(rows: Sequence[Row], section: Section, *, main: bool) -> Table:
    columns = [
        measure
        for measure in MEASURES
        if (measure.main or not main or measure in measures.SELECTING[section.select_by])
        and any(measure.key in row.spreads for row in rows)
    ]
    groups = [(split, list(same)) for split, same in groupby(columns, key=lambda measure: measure.split)]
    references = {row.against.arm for row in rows if row.against}
    return Table(
        groups=tuple((split, SPLITS[split], len(same)) for split, same in groups),
        measures=tuple(columns),
        lines=tuple(_line(row, rows, columns) for row in rows),
        settings=any(row.cell.label for row in rows),
        against=len(references) > 1,
    )


def _line(row: Row, rows: Sequence[Row], columns: Sequence[Measure]) -> Line:
    return Line(
        method=row.cell.arm.label,
        setting=row.cell.label,
        seeds=seeds_of(row),
        against=row.against.arm.label if row.against else "",
        figures=tuple(figure(row, measure, rows) for measure in columns),
    )


def _leads(row: Row, measure: Measure, rows: Sequence[Row]) -> bool:
    """Whether a row's mean, as it is written, is the best of several; one lucky seed does not beat more of them."""
    found = [each.spreads[measure.key] for each in rows if measure.key in each.spreads]
    most = max(each.n for each in found)
    means = {round(each.mean, measure.decimals) for each in found if each.n == most}
    ours = row.spreads[measure.key]
    best = max(means) if measure.better else min(means)
    return ours.n == most and len(means) > 1 and round(ours.mean, measure.decimals) == best
