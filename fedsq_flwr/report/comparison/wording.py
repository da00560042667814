"""How the figures of cells are written, the same on the page, in Markdown and in the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedsq_flwr.report import numerals
from fedsq_flwr.report.comparison import measures
from fedsq_flwr.report.comparison.analysis import TARGET_SHARE, Comparison, Row, Section
from fedsq_flwr.report.comparison.measures import Measure
from fedsq_flwr.report.comparison.statistics import Difference, Standing


@dataclass(frozen=True)
class Figure:
    """A table's cell: mean and deviation, and below them the difference to the baseline, or another remark."""

    value: str
    deviation: str = ""
    below: tuple[str, ...] = ()
    leads: bool = False
    standing: Standing | None = None


def figure(row: Row, measure: Measure, rows: Sequence[Row]) -> Figure:
    """Write one figure of a row; `rows` are those that it may lead."""
    found = row.spreads.get(measure.key)
    if found is None:
        return Figure(numerals.NOTHING)
    value = numerals.decimal(found.mean, measure.decimals)
    deviation = "" if found.deviation is None else f"± {numerals.decimal(found.deviation, measure.decimals)}"
    if measure is measures.TARGET and row.reached < row.n:
        if not row.reached:
            return Figure("not reached", below=(f"by any of {row.n}",))
        return Figure(f"≥ {value}", deviation, (f"{row.reached} of {row.n} reach it",))
    difference = row.differences.get(measure.key) if measure.better is not None else None
    return Figure(
        value,
        deviation,
        difference_texts(difference, measure) if difference else (),
        measure.better is not None and _leads(row, measure, rows),
        difference.standing(higher_is_better=measure.better) if difference and measure.better is not None else None,
    )


def difference_texts(difference: Difference, measure: Measure) -> tuple[str, str]:
    """Write a difference, and its interval if it has one, else the number of its pairs."""
    mean = numerals.signed(difference.mean, measure.decimals)
    if difference.low is None or difference.high is None:
        return mean, f"({numerals.count(difference.n, 'pair')})"
    low, high = (numerals.signed(bound, measure.decimals) for bound in (difference.low, difference.high))
    return mean, f"[{low}, {high}]"


def seeds(row: Row, comparison: Comparison) -> str:
    """Write how many seeds a row has, and of how many if some are missing."""
    wanted = len(comparison.groups.seeds)
    return str(row.n) if row.n == wanted else f"{row.n} of {wanted}"


def target(section: Section, comparison: Comparison) -> str:
    """Say what the target is and where it is from."""
    if comparison.target_given:
        return f"{section.target:g}, as asked for"
    return f"{numerals.accuracy(section.target)}, {100 * TARGET_SHARE:.0f} % of the best method's mean"


def _leads(row: Row, measure: Measure, rows: Sequence[Row]) -> bool:
    """Whether a row's mean, as it is written, is the best of several; one lucky seed does not beat more of them."""
    found = [each.spreads[measure.key] for each in rows if measure.key in each.spreads]
    most = max(each.n for each in found)
    means = {round(each.mean, measure.decimals) for each in found if each.n == most}
    ours = row.spreads[measure.key]
    best = max(means) if measure.better else min(means)
    return ours.n == most and len(means) > 1 and round(ours.mean, measure.decimals) == best
