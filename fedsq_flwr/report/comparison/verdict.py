"""What the numbers say, in plain words: fixed sentences, and no word more than the intervals allow."""

from fedsq_flwr.report import numerals
from fedsq_flwr.report.comparison import measures
from fedsq_flwr.report.comparison.analysis import Comparison, Row, Section, values_by_seed
from fedsq_flwr.report.comparison.measures import Measure
from fedsq_flwr.report.comparison.statistics import FEWEST_PAIRS, Difference, Outcome, by_luck, paired_difference
from fedsq_flwr.report.comparison.tables import difference_texts
from fedsq_flwr.report.measure_tables import NAMES

FEW = 4  # methods whose differences are written out; those of more are in the tables


def verdict(section: Section, comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Return each figure that is put into words with its lines; empty if no run of the condition is finished.

    Put into words are the measure that chose, and the same one on test. The figures of speed stand in the tables.
    """
    chosen, name = measures.SELECTING[section.select_by], NAMES[section.select_by]
    tested = "accuracy" if chosen[1] is measures.TEST else name
    in_words = zip(chosen, (f"best validation {name}", f"test {tested} of the best"), strict=True)
    told = [(name, _lines(section.finished, measure, comparison)) for measure, name in in_words]
    return [(name, lines) for name, lines in told if lines]


def on_seeds(comparison: Comparison) -> str:
    """Explain how much an interval over the seeds at hand can show."""
    rows = [row for section in comparison.sections for row in section.best]
    seeds = max((row.n for row in rows), default=0)
    most = max((difference.n for row in rows for difference in row.differences.values()), default=seeds)
    if most < FEWEST_PAIRS:
        few = (
            f"No method has more than {numerals.count(seeds, 'finished seed')}"
            if seeds < FEWEST_PAIRS
            else f"No method shares more than {numerals.count(most, 'seed')} with another"
        )
        return f"{few}: below {FEWEST_PAIRS} pairs no interval is given, and nothing is said about who is ahead."
    narrow = (
        "runs from the smallest difference to the largest, and excludes 0 as soon as all three have the same sign"
        if most == FEWEST_PAIRS
        else "knows no other seeds than these, and tends to be too narrow"
    )
    return (
        f"A bootstrap interval of {most} seeds says little: it {narrow}. If two methods were equally good, all "
        f"{most} differences would still have the same sign in {100 * by_luck(most):.3g} % of such comparisons by "
        "luck, and this page makes many comparisons. Read “ahead” as “worth more seeds”, not as proven."
    )


def _lines(rows: list[Row], measure: Measure, comparison: Comparison) -> list[str]:
    ranked = sorted(
        (row for row in rows if measure.key in row.spreads),
        key=lambda row: row.spreads[measure.key].mean * (-1 if measure.better else 1),
    )
    if not ranked:
        return []
    most = max(row.n for row in ranked)
    lead = f"{'Highest' if measure.better else 'Lowest'} mean for {_with_mean(ranked[0], measure, most)}"
    if len(ranked) == 1:
        return [f"{lead}, the only method."]
    return [f"{lead}{_to_second(ranked, measure, most)}.", *_to_baseline(ranked, measure, comparison)]


def _to_second(ranked: list[Row], measure: Measure, most: int) -> str:
    """Compare the two highest means, seed by seed."""
    first, second = ranked[:2]
    other = f"the next, {_with_mean(second, measure, most)}"
    values = [values_by_seed(row.cell, measure, 0.0) for row in (first, second)]
    difference = paired_difference(*values)
    if difference is None:
        return f"; it shares no seed with {other}"
    match difference.outcome(higher_is_better=bool(measure.better)):
        case Outcome.TOO_FEW:
            return f"; {numerals.count(difference.n, 'pair')} with {other}, too few to say more"
        case Outcome.AHEAD:
            return f", ahead of {other}"
        case Outcome.BEHIND:  # at the seeds of both; the first has more
            return f", but behind {other}, at the {difference.n} seeds of both"
        case _:
            return f", not told apart from {other} by these {difference.n} seeds"


def _to_baseline(ranked: list[Row], measure: Measure, comparison: Comparison) -> list[str]:
    """Sort the methods by how they compare with the baseline."""
    compared = [(row, row.differences[measure.key]) for row in ranked if measure.key in row.differences]
    lines = []
    for outcome, words in (
        (Outcome.AHEAD, "Ahead of {}"),
        (Outcome.BEHIND, "Behind {}"),
        (Outcome.NOT_TOLD_APART, "Not told apart from {} by these seeds"),
        (Outcome.TOO_FEW, "Against {}, by too few pairs to say more"),
    ):
        found = [
            _with_difference(row, difference, measure) if len(compared) <= FEW else _named(row)
            for row, difference in compared
            if difference.outcome(higher_is_better=bool(measure.better)) is outcome
        ]
        if found:
            separator = "; " if len(compared) <= FEW else ", "
            lines.append(f"{words.format(comparison.baseline)}: {separator.join(found)}.")
    return lines


def _with_mean(row: Row, measure: Measure, most: int) -> str:
    """Name the method with its mean, and its seeds if others have more of them."""
    found = row.spreads[measure.key]
    seeds = f", {numerals.count(found.n, 'seed')}" if found.n < most else ""
    return f"{_named(row)} ({numerals.accuracy(found.mean)}{seeds})"


def _with_difference(row: Row, difference: Difference, measure: Measure) -> str:
    """Name the method and its difference, which is kept on one line."""
    text = " ".join(difference_texts(difference, measure)).replace(" ", "\u00a0")
    return f"{_named(row)} {text}"


def _named(row: Row) -> str:
    """Name the method, in a form that commas in its label do not break."""
    return f"“{row.cell.arm.label}”" if "," in row.cell.arm.label else row.cell.arm.label
