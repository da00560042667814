"""Accuracy against a tuned setting, the learning rate above all: how much it takes to tune a method."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fedsq_flwr.report import svg
from fedsq_flwr.report.comparison import measures, series
from fedsq_flwr.report.comparison.analysis import Section
from fedsq_flwr.report.comparison.cells import Arm
from fedsq_flwr.report.comparison.choosing import values_by_seed
from fedsq_flwr.report.comparison.measures import Measure
from fedsq_flwr.report.comparison.series import Look
from fedsq_flwr.report.comparison.tuning import Lines, tried

SHOWN = ((measures.BEST, "best"), (measures.MEAN, "mean of rounds"), (measures.FINAL, "last"))


def accuracy_by_setting(section: Section, setting: str, name: str, looks: dict[Arm, Look]) -> str:
    """Draw best, mean and last validation accuracy against a setting, a line a method, the band over seeds."""
    lines = tried(section, setting)
    values = sorted({value for pairs in lines.values() for value, _ in pairs})

    def paint(figure: Figure) -> None:
        panels = figure.subplots(len(SHOWN), 1, sharex=True)
        for axes, (measure, title) in zip(panels, SHOWN, strict=True):
            _panel(axes, lines, measure, section.target, looks)
            axes.set_ylabel(title)
            _scale(axes, values)
        panels[-1].set_xlabel(setting.replace("_", " "))
        figure.align_ylabels()
        series.legend(figure, panels[0])

    height = 5.4 + series.legend_height(list(lines))
    return svg.draw(name, f"Validation accuracy against {setting}, {section.condition.label}", height, paint)


def has_bands(lines: Lines) -> bool:
    """Whether bands are drawn, as for curves."""
    return len(lines) <= series.FEW_BANDS and any(row.n > 1 for pairs in lines.values() for _, row in pairs)


def _panel(axes: Axes, lines: Lines, measure: Measure, target: float, looks: dict[Arm, Look]) -> None:
    for arm, pairs in lines.items():
        measured = [(value, row) for value, row in pairs if measure.key in row.spreads]
        xs = [value for value, _ in measured]
        if has_bands(lines):
            seeds = [list(values_by_seed(row.cell, measure, target).values()) for _, row in measured]
            series.band(axes, xs, list(map(min, seeds)), list(map(max, seeds)), looks[arm])
        means = [row.spreads[measure.key].mean for _, row in measured]
        series.plot(axes, xs, means, looks[arm], series.label_of(arm, len(lines)))


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Label the values that were tried, on a logarithmic axis unless one of them is 0."""
    if min(values) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(values, [f"{value:g}" for value in values])
