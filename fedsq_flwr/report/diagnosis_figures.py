"""The figures of the diagnostics: which gates flip, and what averaging does."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fedsq_flwr.report import svg
from fedsq_flwr.report.diagnosis import Diagnosis, Layer
from fedsq_flwr.report.figures import DASHED, FEW_ROUNDS
from fedsq_flwr.report.partition_figure import FULLEST

FEW_LAYERS = 40  # each named; more are numbered
WRITTEN_LAYERS = 26  # up to here a cell is high enough for its number
WRITTEN_ROUNDS = 12  # and up to here wide enough
CHANCE = 0.5  # the flip rate of signs that have nothing to do with each other: the strongest colour

Diagnoses = Sequence[tuple[int, Diagnosis]]


def flips_by_layer(diagnoses: Diagnoses) -> str:
    """Draw flip rates, layers by rounds, and beside them the share of open gates in the last round.

    The colours mean the same on every page, so that runs can be compared; they go with the square root,
    since most rates are small.
    """
    layers = diagnoses[-1][1].layers
    rounds = range(diagnoses[0][0], diagnoses[-1][0] + 1)
    rates = np.full((len(layers), len(rounds)), np.nan)
    for number, diagnosis in diagnoses:
        by_name = {layer.name: layer.flip_rate for layer in diagnosis.layers}
        values = [by_name.get(layer.name) for layer in layers]
        rates[:, number - rounds[0]] = [np.nan if value is None else value for value in values]

    def paint(figure: Figure) -> None:
        cells, densities = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        for axes in (cells, densities):
            axes.grid(visible=False)
        _paint_cells(cells, rates, rounds)
        _name_layers(cells, layers)
        _paint_densities(densities, layers)

    return svg.draw("flips", "Flipped gates by layer and round", min(max(1.4 + 0.21 * len(layers), 2.6), 7.5), paint)


def averaging_by_round(diagnoses: Diagnoses) -> str:
    """Draw the averaging gap relative to the spread, and below it how far the silos and their mean moved."""
    rounds = [number for number, _ in diagnoses]

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        _line(above, rounds, [d.relative_gap for _, d in diagnoses], colour=svg.VALIDATION, label="averaging gap")
        _line(below, rounds, [d.drift for _, d in diagnoses], colour=svg.SILOS, label="drift of the silos")
        moved = [d.drift_of_mean for _, d in diagnoses]
        _line(below, rounds, moved, colour=svg.TRAIN, label="drift of their mean", style=DASHED)
        above.set_ylabel("gap / spread")
        below.set_ylabel("distance")
        below.set_xlabel("round")
        for axes in (above, below):
            axes.set_ylim(bottom=0)
        svg.whole_numbers(below.xaxis)
        figure.align_ylabels()
        figure.legend(loc="outside upper left", ncols=3)

    return svg.draw("averaging", "Averaging gap and drift by round", 3.9, paint)


def _paint_cells(axes: Axes, rates: NDArray[np.float64], rounds: range) -> None:
    image = np.empty((*rates.shape, 4))
    image[..., :3] = to_rgb(svg.CELLS)
    image[..., 3] = FULLEST * np.sqrt(np.clip(np.nan_to_num(rates) / CHANCE, 0, 1))
    span = (rounds[0] - 0.5, rounds[-1] + 0.5, len(rates) - 0.5, -0.5)
    axes.imshow(image, aspect="auto", interpolation="none", extent=span)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("round")
    svg.whole_numbers(axes.xaxis)
    if len(rates) <= WRITTEN_LAYERS and len(rounds) <= WRITTEN_ROUNDS:
        for (layer, place), rate in np.ndenumerate(rates):
            if np.isfinite(rate):
                axes.text(
                    rounds[place], layer, f"{100 * rate:.0f}", ha="center", va="center", fontsize=9, in_layout=False
                )


def _name_layers(axes: Axes, layers: Sequence[Layer]) -> None:
    if len(layers) <= FEW_LAYERS:
        names = [layer.name if len(layer.name) <= 24 else f"…{layer.name[-23:]}" for layer in layers]
        axes.set_yticks(range(len(layers)), names, fontsize=9)
    else:
        svg.whole_numbers(axes.yaxis)
        axes.set_ylabel(f"gated call in forward order ({len(layers)})")


def _paint_densities(axes: Axes, layers: Sequence[Layer]) -> None:
    places = [place for place, layer in enumerate(layers) if layer.density is not None]
    axes.barh(places, [layers[place].density or 0.0 for place in places], color=svg.SILOS, alpha=0.55, height=0.7)
    own = [layers[place].own_density for place in places]
    axes.plot([np.nan if value is None else value for value in own], places, "|", color=svg.INK, markersize=8)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="both", length=0, labelleft=False)
    axes.set_xlabel("open")


def _line(
    axes: Axes,
    rounds: Sequence[int],
    values: Sequence[float | None],
    *,
    colour: str,
    label: str,
    style: str | tuple[int, tuple[int, int]] = "-",
) -> None:
    drawn = [np.nan if value is None else value for value in values]
    marker = "o" if len(rounds) <= FEW_ROUNDS else ""
    axes.plot(rounds, drawn, color=colour, label=label, linestyle=style, marker=marker, markersize=4)
