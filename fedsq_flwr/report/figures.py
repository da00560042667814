"""Figures of what happens by round and by silo."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedsq_flwr.records.history import Diagnostics, Line
from fedsq_flwr.records.summary import SiloSummary, Summary
from fedsq_flwr.report import numerals, svg
from fedsq_flwr.report.svg import Canvas, Drawing

HEIGHT = 3.9
FEW_ROUNDS = 30  # with a dot a round; more of them would hide the line
FEW_SILOS = 30  # named under their bars; more names would not fit
BARS = 500  # up to here a bar is a pixel wide
DOTTED = (0, (1, 2))
DASHED = (0, (4, 2))


def accuracy_by_round(rounds: Sequence[Line], best: int | None) -> Drawing:
    """Draw validation and test accuracy, the silos' span, and the round that validation chose."""

    def paint(figure: Canvas) -> None:
        axes = axes_by_round(figure, [line.round for line in rounds], best, "accuracy")
        numbers = [line.round for line in rounds]
        draw_line(axes, numbers, [line.accuracy for line in rounds], colour=svg.VALIDATION, label="validation")
        draw_line(axes, numbers, [line.test_accuracy for line in rounds], colour=svg.TEST, label="test", style=DASHED)
        _silo_span(axes, rounds)
        for line in rounds:
            if line.round == best:
                _ring(axes, line.round, line.accuracy, svg.VALIDATION)
                _ring(axes, line.round, line.test_accuracy, svg.TEST)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.02))
        figure.legend(loc="outside upper left", ncols=3)

    heads = "round", "validation", "test", "worst silo", "best silo"
    table = [
        (line.round, line.accuracy, line.test_accuracy, _least(line.accuracies), _most(line.accuracies))
        for line in rounds
    ]
    return Drawing("accuracy", "Accuracy by round", HEIGHT, paint, (heads, table))


def loss_by_round(rounds: Sequence[Line], best: int | None) -> Drawing:
    """Draw training and validation loss."""

    def paint(figure: Canvas) -> None:
        axes = axes_by_round(figure, [line.round for line in rounds], best, "loss")
        numbers = [line.round for line in rounds]
        draw_line(axes, numbers, [line.loss for line in rounds], colour=svg.VALIDATION, label="validation")
        draw_line(
            axes, numbers, [line.train_loss for line in rounds], colour=svg.TRAIN, label="training", style=DASHED
        )
        losses = [drawable(loss) for line in rounds for loss in (line.loss, line.train_loss)]
        axes.set_ylim(0, 1.05 * max((loss for loss in losses if loss > 0), default=1))
        figure.legend(loc="outside upper left", ncols=2)

    table = [(line.round, line.loss, line.train_loss) for line in rounds]
    return Drawing("loss", "Loss by round", HEIGHT, paint, (("round", "validation", "training"), table))


def accuracy_by_silo(summary: Summary) -> Drawing:
    """Draw the best round's accuracy on each silo's held-out samples, from worst to best."""
    silos = summary.evaluated_silos

    def paint(figure: Canvas) -> None:
        axes = figure.add_subplot()
        colours = [svg.WORST if summary.silos_differ else svg.SILOS, *[svg.SILOS] * (len(silos) - 1)]
        heights = [drawable(silo.accuracy) for silo in silos]
        if len(silos) <= BARS:
            axes.bar(range(len(silos)), heights, color=colours, width=0.7 if len(silos) <= FEW_SILOS else 0.85)
        else:  # one outline, where each bar is thinner than a pixel
            axes.stairs(heights, np.arange(len(silos) + 1) - 0.5, fill=True, color=svg.SILOS)
        for place, (silo, height) in enumerate(zip(silos, heights, strict=True)):
            figure.note(axes, place, height, f"silo {silo.title}: accuracy {height:.3f}")
        axes.set_xlim(-0.8, max(len(silos), 4) - 0.2)  # a lone bar is no wall
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("accuracy")
        _name_silos(axes, silos)
        mean = summary.silo_accuracy_mean
        if mean is not None and len(silos) > 1:
            axes.axhline(drawable(mean), color=svg.INK, linewidth=1.2, linestyle=DASHED)
            # At the left, where the bars are lower than the mean.
            axes.annotate(
                f"mean {mean:.3f}",
                (0, drawable(mean)),
                xycoords=("axes fraction", "data"),
                xytext=(5, 4),
                textcoords="offset points",
            )

    table = [(silo.silo, silo.name, silo.held_out, silo.accuracy) for silo in silos]
    return Drawing("silos", "Accuracy by silo", HEIGHT, paint, (("silo", "name", "held out", "accuracy"), table))


def averaging_by_round(diagnoses: Sequence[tuple[int, Diagnostics]]) -> Drawing:
    """Draw the averaging gap relative to the spread, and below it how far the silos and their mean moved."""
    rounds = [number for number, _ in diagnoses]

    def paint(figure: Canvas) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        gaps = [found.averaging.relative for _, found in diagnoses]
        draw_line(above, rounds, gaps, colour=svg.VALIDATION, label="averaging gap")
        moved = [found.drift.mean for _, found in diagnoses]
        draw_line(below, rounds, moved, colour=svg.SILOS, label="drift of the silos")
        together = [found.drift.of_mean for _, found in diagnoses]
        draw_line(below, rounds, together, colour=svg.TRAIN, label="drift of their mean", style=DASHED)
        above.set_ylabel("gap / spread")
        below.set_ylabel("distance")
        below.set_xlabel("round")
        for axes in (above, below):
            axes.set_ylim(bottom=0)
        svg.whole_numbers(below.xaxis)
        figure.align_ylabels()
        figure.legend(loc="outside upper left", ncols=3)

    heads = "round", "averaging gap over spread", "drift of the silos", "drift of their mean"
    table = [(number, found.averaging.relative, found.drift.mean, found.drift.of_mean) for number, found in diagnoses]
    return Drawing("averaging", "Averaging gap and drift by round", HEIGHT, paint, (heads, table))


def drawable(value: float | None) -> float:
    """Return a number that can be drawn, and NaN, which leaves a gap, for any other."""
    near = numerals.within_reach(value)
    return math.nan if near is None else near


def axes_by_round(figure: Figure, rounds: Sequence[int], best: int | None, label: str, mark: str = "best") -> Axes:
    """Return axes whose abscissa is the round, with a mark at ``best``."""
    axes = figure.add_subplot()
    axes.set_xlabel("round")
    axes.set_ylabel(label)
    first, last = rounds[0], rounds[-1]
    margin = max(0.02 * (last - first), 0.5 if first == last else 0.1)
    axes.set_xlim(first - margin, last + margin)
    svg.whole_numbers(axes.xaxis)
    if best is not None:
        axes.axvline(best, color=svg.MUTED, linewidth=1, linestyle=DOTTED, zorder=1)
        above = axes.get_xaxis_transform()
        axes.text(best, 1.01, mark, transform=above, ha="center", color=svg.MUTED, fontsize=10.5)
    return axes


def draw_line(
    axes: Axes,
    rounds: Sequence[int],
    values: Sequence[float | None],
    *,
    colour: str,
    label: str,
    style: str | tuple[int, tuple[int, int]] = "-",
) -> None:
    """Draw a line, with gaps where a value was not measured or is not finite."""
    axes.plot(
        rounds,
        [drawable(value) for value in values],
        color=colour,
        label=label,
        linestyle=style,
        marker="o" if len(rounds) <= FEW_ROUNDS else "",
        markersize=4,
    )


def _ring(axes: Axes, x: int, y: float | None, colour: str) -> None:
    if drawable(y) == y:
        axes.plot([x], [y], "o", markersize=11, markerfacecolor="none", markeredgecolor=colour, clip_on=False)


def _silo_span(axes: Axes, rounds: Sequence[Line]) -> None:
    """Draw a band from the worst silo to the best one, where a round has any."""
    if not any(line.accuracies for line in rounds):
        return
    axes.fill_between(
        [line.round for line in rounds],
        [drawable(_least(line.accuracies)) for line in rounds],
        [drawable(_most(line.accuracies)) for line in rounds],
        color=svg.SILOS,
        alpha=0.22,
        linewidth=0,
        zorder=0,
        label="silos, worst to best",
    )


def _least(accuracies: Mapping[int, float]) -> float | None:
    return min(accuracies.values(), default=None)


def _most(accuracies: Mapping[int, float]) -> float | None:
    return max(accuracies.values(), default=None)


def _name_silos(axes: Axes, silos: Sequence[SiloSummary]) -> None:
    if len(silos) <= FEW_SILOS:
        axes.set_xticks(range(len(silos)), [str(silo.silo) for silo in silos])
        axes.set_xlabel("silo, from worst to best")
    else:
        axes.set_xticks([0], [f"silo {silos[0].title}"])
        axes.set_xlabel(f"{len(silos)} silos, from worst to best")
    axes.tick_params(axis="x", length=0)
