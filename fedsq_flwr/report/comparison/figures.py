"""The figures of a comparison: accuracies and gates by round, and accuracy against a tuned setting."""

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from fedsq_flwr.records.history import Line
from fedsq_flwr.report import svg
from fedsq_flwr.report.captions import of_partition
from fedsq_flwr.report.comparison import captions, measures, series
from fedsq_flwr.report.comparison.analysis import Comparison, Row, Section, Tried, tried, values_by_seed
from fedsq_flwr.report.comparison.grouping import Arm
from fedsq_flwr.report.comparison.measures import Measure
from fedsq_flwr.report.comparison.series import Look
from fedsq_flwr.report.figures import DOTTED, FEW_ROUNDS, drawable
from fedsq_flwr.report.heat_maps import partition_picture
from fedsq_flwr.report.svg import Canvas, Drawing, Table

Drawn = list[tuple[Drawing, str]]  # with its caption
Looks = dict[Arm, Look]
Read = Callable[[Line], float | None]

SHOWN = ((measures.BEST, "best"), (measures.MEAN, "mean of rounds"), (measures.FINAL, "last"))


def draw_sections(comparison: Comparison) -> list[Drawn]:
    """Draw the figures of each condition; a method looks the same in all of them."""
    looks = series.looks(comparison.groups.arms)
    return [
        _section(section, str(place), comparison, looks) for place, section in enumerate(comparison.sections, start=1)
    ]


def draw_partitions(comparison: Comparison) -> Drawn:
    """Draw the partition of one run of each condition."""
    drawn = []
    for place, section in enumerate(comparison.sections, start=1):
        runs = [run for row in section.rows for _, run in sorted(row.cell.runs.items()) if run.partition]
        # A method that has all samples in one place has a partition of one silo.
        run = max(runs, key=lambda run: run.settings.silos, default=None)
        if run and run.partition:
            picture = partition_picture(run.partition, f"partition-{place}")
            drawn.append((picture, f"{section.condition.label}. {of_partition(run.partition)}"))
    return drawn


def _section(section: Section, place: str, comparison: Comparison, looks: Looks) -> Drawn:
    if not section.finished:
        return []
    drawn = []
    if any(len(run.rounds) > 1 for row in section.finished for run in row.cell.runs.values()):
        caption = captions.of_curves(section, comparison, bands=_has_bands(section.finished))
        drawn.append((_accuracy_curves(section, f"curves-{place}", looks), caption))
    for setting in comparison.groups.tuned:
        if tried(section, setting):
            picture = _accuracy_by_setting(section, setting, f"{setting}-{place}", looks)
            drawn.append((picture, captions.of_settings(section, setting, bands=_has_bands(section.rows))))
    rows = _diagnosed(section)
    if rows:
        drawn.append((_gate_curves(section, f"gates-{place}", looks), captions.of_gates(rows)))
    return drawn


def _accuracy_curves(section: Section, name: str, looks: Looks) -> Drawing:
    """Draw validation accuracy by round, a line a method: the mean over seeds, and the band from least to most."""
    rows = section.finished

    def paint(figure: Canvas) -> None:
        axes = figure.add_subplot()
        _lines(axes, rows, lambda line: line.accuracy, looks)
        axes.axhline(section.target, color=svg.MUTED, linewidth=1, linestyle=DOTTED, zorder=1)
        axes.set_ylabel("validation accuracy")
        axes.set_xlabel("round")
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.02))
        svg.whole_numbers(axes.xaxis)
        series.legend(figure, axes)

    height = 3.8 + series.legend_height([row.cell.arm for row in rows])
    table = _table(rows, [("", lambda line: line.accuracy)])
    return Drawing(name, f"Validation accuracy by round, {section.condition.label}", height, paint, table)


def _gate_curves(section: Section, name: str, looks: Looks) -> Drawing:
    """Draw the flip rate and the relative averaging gap by round, of the methods that were diagnosed."""
    rows = _diagnosed(section)

    def paint(figure: Canvas) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        _lines(above, rows, _flip_rate, looks)
        _lines(below, rows, _averaging_gap, looks)
        above.set_ylabel("flipped signs")
        below.set_ylabel("averaging gap")
        below.set_xlabel("round")
        for axes in (above, below):
            axes.set_ylim(bottom=0)
        svg.whole_numbers(below.xaxis)
        figure.align_ylabels()
        series.legend(figure, above)

    height = 4.4 + series.legend_height([row.cell.arm for row in rows])
    table = _table(rows, [("flipped signs, ", _flip_rate), ("averaging gap, ", _averaging_gap)])
    return Drawing(name, f"Gate flips and averaging gap by round, {section.condition.label}", height, paint, table)


def _accuracy_by_setting(section: Section, setting: str, name: str, looks: Looks) -> Drawing:
    """Draw best, mean and last validation accuracy against a setting, a line a method, the band over seeds."""
    lines = tried(section, setting)
    values = sorted({value for pairs in lines.values() for value, _ in pairs})

    def paint(figure: Canvas) -> None:
        panels = figure.subplots(len(SHOWN), 1, sharex=True)
        for axes, (measure, title) in zip(panels, SHOWN, strict=True):
            _panel(axes, section, lines, measure, looks)
            axes.set_ylabel(title)
            if min(values) > 0:
                axes.set_xscale("log")
                axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(values, [f"{value:g}" for value in values])
        panels[-1].set_xlabel(setting.replace("_", " "))
        figure.align_ylabels()
        series.legend(figure, panels[0])

    height = 5.4 + series.legend_height(list(lines))
    title = f"Validation accuracy against {setting}, {section.condition.label}"
    table = [
        (
            arm.label,
            value,
            row.n,
            *(row.spreads[each.key].mean if each.key in row.spreads else None for each, _ in SHOWN),
        )
        for arm, pairs in lines.items()
        for value, row in pairs
    ]
    heads = "method", setting, "seeds", *(shown for _, shown in SHOWN)
    return Drawing(name, title, height, paint, (heads, table))


def _panel(axes: Axes, section: Section, lines: Tried, measure: Measure, looks: Looks) -> None:
    for arm, pairs in lines.items():
        measured = [(value, row) for value, row in pairs if measure.key in row.spreads]
        xs = [value for value, _ in measured]
        if _has_bands(section.rows):
            seeds = [list(values_by_seed(row.cell, measure, section.target).values()) for _, row in measured]
            series.band(axes, xs, list(map(min, seeds)), list(map(max, seeds)), looks[arm])
        means = [row.spreads[measure.key].mean for _, row in measured]
        series.plot(axes, xs, means, looks[arm], series.label_of(arm, len(lines)))


def _lines(axes: Axes, rows: Sequence[Row], read: Read, looks: Looks) -> None:
    for row in rows:
        rounds, values = _by_round(row, read)
        if not rounds:
            continue
        look = looks[row.cell.arm]
        if _has_bands(rows):
            series.band(axes, rounds, list(np.nanmin(values, axis=0)), list(np.nanmax(values, axis=0)), look)
        means = list(np.nanmean(values, axis=0))
        label = series.label_of(row.cell.arm, len(rows))
        series.plot(axes, rounds, means, look, label, dots=len(rounds) <= FEW_ROUNDS)


def _flip_rate(line: Line) -> float | None:
    return line.diagnostics.flip_rate if line.diagnostics else None


def _averaging_gap(line: Line) -> float | None:
    return line.diagnostics.averaging.relative if line.diagnostics else None


def _table(rows: Sequence[Row], reads: Sequence[tuple[str, Read]]) -> Table:
    """Return what curves show: a row for each method and round, with mean, lowest and highest over the seeds."""
    found: list[tuple[object, ...]] = []
    for row in rows:
        curves = [
            {n: v[np.isfinite(v)] for n, v in zip(rounds, values.T, strict=True)}
            for rounds, values in (_by_round(row, read) for _, read in reads)
        ]
        for number in sorted(set().union(*curves)):
            spans = [_span(curve.get(number, ())) for curve in curves]
            found.append((row.cell.arm.label, number, *chain.from_iterable(spans)))
    columns = [f"{name}{what}" for name, _ in reads for what in ("seeds", "mean", "lowest", "highest")]
    return ("method", "round", *columns), found


def _span(values: Sequence[float] | NDArray[np.float64]) -> tuple[object, ...]:
    if not len(values):
        return 0, None, None, None
    return len(values), float(np.mean(values)), float(np.min(values)), float(np.max(values))


def _by_round(row: Row, read: Read) -> tuple[list[int], NDArray[np.float64]]:
    """Return the rounds in which any seed was measured, and the seeds' values by round, NaN where there is none."""
    by_seed = [{line.round: drawable(read(line)) for line in run.rounds} for run in row.cell.runs.values()]
    known = [{number: value for number, value in values.items() if np.isfinite(value)} for values in by_seed]
    rounds = sorted(set().union(*known))
    return rounds, np.array([[values.get(number, np.nan) for number in rounds] for values in known])


def _diagnosed(section: Section) -> list[Row]:
    return [
        row
        for row in section.finished
        if any(line.diagnostics for run in row.cell.runs.values() for line in run.rounds)
    ]


def _has_bands(rows: Sequence[Row]) -> bool:
    """Whether bands are drawn: there is more than one seed, and no more methods than bands can be told apart."""
    return len({row.cell.arm for row in rows}) <= series.FEW_BANDS and any(row.n > 1 for row in rows)
