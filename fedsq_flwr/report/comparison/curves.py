"""What happens by round: accuracies, and the diagnostics of the gates where runs have them."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fedsq_flwr.report import svg
from fedsq_flwr.report.comparison import series
from fedsq_flwr.report.comparison.analysis import Row, Section
from fedsq_flwr.report.comparison.cells import Arm
from fedsq_flwr.report.comparison.series import Look
from fedsq_flwr.report.figures import FEW_ROUNDS
from fedsq_flwr.report.records import Round, is_finite

Read = Callable[[Round], float | None]


def accuracy_curves(section: Section, name: str, looks: dict[Arm, Look]) -> str:
    """Draw validation accuracy by round, a line a method: the mean over seeds, and the band from least to most."""
    rows = section.finished

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        _lines(axes, rows, lambda line: line.accuracy, looks)
        axes.axhline(section.target, color=svg.MUTED, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        axes.set_ylabel("validation accuracy")
        axes.set_xlabel("round")
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.02))
        svg.whole_numbers(axes.xaxis)
        series.legend(figure, axes)

    height = 3.8 + series.legend_height([row.cell.arm for row in rows])
    return svg.draw(name, f"Validation accuracy by round, {section.condition.label}", height, paint)


def gate_curves(section: Section, name: str, looks: dict[Arm, Look]) -> str:
    """Draw the flip rate and the relative averaging gap by round, of the methods that were diagnosed."""
    rows = diagnosed(section)

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        _lines(above, rows, lambda line: line.diagnosis.flip_rate if line.diagnosis else None, looks)
        _lines(below, rows, lambda line: line.diagnosis.relative_gap if line.diagnosis else None, looks)
        above.set_ylabel("flipped signs")
        below.set_ylabel("averaging gap")
        below.set_xlabel("round")
        for axes in (above, below):
            axes.set_ylim(bottom=0)
        svg.whole_numbers(below.xaxis)
        figure.align_ylabels()
        series.legend(figure, above)

    height = 4.4 + series.legend_height([row.cell.arm for row in rows])
    return svg.draw(name, f"Gate flips and averaging gap by round, {section.condition.label}", height, paint)


def diagnosed(section: Section) -> list[Row]:
    """Return the methods with diagnostics."""
    return [
        row
        for row in section.finished
        if any(line.diagnosis for run in row.cell.runs.values() for line in run.rounds)
    ]


def has_bands(rows: Sequence[Row]) -> bool:
    """Whether bands are drawn: there is more than one seed, and no more methods than bands can be told apart."""
    return len(rows) <= series.FEW_BANDS and any(row.n > 1 for row in rows)


def _lines(axes: Axes, rows: Sequence[Row], read: Read, looks: dict[Arm, Look]) -> None:
    for row in rows:
        rounds, values = _table(row, read)
        if not rounds:
            continue
        look = looks[row.cell.arm]
        if has_bands(rows):
            series.band(axes, rounds, list(np.nanmin(values, axis=0)), list(np.nanmax(values, axis=0)), look)
        means = list(np.nanmean(values, axis=0))
        series.plot(
            axes, rounds, means, look, series.label_of(row.cell.arm, len(rows)), dots=len(rounds) <= FEW_ROUNDS
        )


def _table(row: Row, read: Read) -> tuple[list[int], NDArray[np.float64]]:
    """Return the rounds in which any seed was measured, and the seeds' values by round, NaN where there is none."""
    by_seed = [{line.round: read(line) for line in run.rounds} for run in row.cell.runs.values()]
    known = [{number: value for number, value in values.items() if is_finite(value)} for values in by_seed]
    rounds = sorted(set().union(*known))
    return rounds, np.array([[values.get(number, np.nan) for number in rounds] for values in known])
