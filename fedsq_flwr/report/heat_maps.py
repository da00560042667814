"""Figures of cells, the stronger the colour the more: the partition, and which gates flip."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from fedsq_flwr.records.history import Diagnostics, LayerGates
from fedsq_flwr.report import svg
from fedsq_flwr.report.figures import drawable
from fedsq_flwr.report.svg import Canvas, Drawing
from fedsq_flwr.settings.partition_file import PartitionFile

FEW_CLASSES = 20  # each named; more are numbered
FEW_SILOS = 25
COUNTED_CLASSES = 12  # up to here a cell is wide enough for its count
COUNTED_SILOS = 20  # and up to here high enough
BARS = 500  # up to here a bar is a pixel high
FEW_LAYERS = 40  # each named; more are numbered
ROW = 0.25  # inches that a layer takes: its name can be read on a slide
WRITTEN_LAYERS = 26  # up to here a cell is high enough for its number
WRITTEN_ROUNDS = 12  # and up to here wide enough
MOST_ROUNDS = 10_000  # of the diagnostics, the last ones
CHANCE = 0.5  # the flip rate of signs that have nothing to do with each other: the strongest colour
FULLEST = 0.75  # opacity of the fullest cell: a count in it can still be read, on white and on black
CELL_PIXELS = 16  # along a side of a cell, fewer where there are many cells
MOST_PIXELS = 2000  # along a side of all cells together

Diagnoses = Sequence[tuple[int, Diagnostics]]


def partition_picture(partition: PartitionFile, name: str = "partition") -> Drawing:
    """Draw a cell for each silo and class, the stronger the more samples, and a bar for each silo's size.

    A heat map reads well from 2 to 100 silos and classes, where bubbles and stacked bars do not.
    Opacity goes with the square root of the count, since a few big cells would hide all others. `name` is
    another one for each picture of a page.
    """
    height = min(max(1.3 + 0.27 * len(partition.counts), 2.4), 5.4)
    table = [(silo, *counts, sum(counts)) for silo, counts in enumerate(partition.counts)]
    heads = "silo", *partition.class_names, "all"
    return Drawing(name, "Samples of each class in each silo", height, partial(_paint, partition), (heads, table))


def flips_by_layer(diagnoses: Diagnoses) -> Drawing:
    """Draw flip rates, layers by rounds, and beside them the share of open gates in the last round.

    The colours mean the same on every page, so that runs can be compared; they go with the square root, since most
    rates are small.
    """
    layers = diagnoses[-1][1].layers
    last = diagnoses[-1][0]
    rounds = range(max(diagnoses[0][0], last - MOST_ROUNDS), last + 1)
    rates = np.full((len(layers), len(rounds)), np.nan)
    for number, found in diagnoses:
        if number in rounds:
            by_name = {layer.layer: drawable(layer.flip_rate) for layer in found.layers}
            rates[:, number - rounds[0]] = [by_name.get(layer.layer, np.nan) for layer in layers]

    def paint(figure: Canvas) -> None:
        cells, densities = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        for axes in (cells, densities):
            axes.grid(visible=False)
        _paint_rates(cells, rates, rounds)
        for (layer, place), rate in np.ndenumerate(rates):
            figure.note(
                cells, rounds[place], layer, f"{layers[layer].layer}, round {rounds[place]}: {100 * rate:.1f} %"
            )
        _name_layers(cells, layers)
        _paint_densities(densities, layers)

    heads = "round", "layer", "kind", "gates", "flip rate", "open of the fixed gates", "open of the model's own"
    table = [
        (number, each.layer, each.kind, each.gates, each.flip_rate, each.density, each.own_density)
        for number, found in diagnoses
        for each in found.layers
    ]
    height = min(max(1.5 + ROW * len(layers), 2.6), 11.5)
    return Drawing("flips", "Flipped gates by layer and round", height, paint, (heads, table))


def _paint(partition: PartitionFile, figure: Canvas) -> None:
    counts = np.array(partition.counts)
    cells, sizes = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    cells.grid(visible=False)
    sizes.grid(visible=False)
    _paint_cells(cells, counts)
    for silo, label in np.ndindex(counts.shape):
        name = partition.class_names[label] if label < len(partition.class_names) else label
        figure.note(cells, label, silo, f"silo {silo}, class {name}: {counts[silo, label]}")
    _name_classes(cells, partition.class_names)
    cells.set_ylabel("silo")
    if len(counts) <= FEW_SILOS:
        cells.set_yticks(range(len(counts)))
    else:
        svg.whole_numbers(cells.yaxis)
    _paint_sizes(sizes, partition.sizes)


def _paint_cells(axes: Axes, counts: NDArray[np.int_]) -> None:
    silos, classes = counts.shape
    _shade(axes, counts / max(counts.max(), 1))
    if silos <= COUNTED_SILOS and classes <= COUNTED_CLASSES:
        for silo, label in np.ndindex(counts.shape):
            if counts[silo, label]:
                _write(axes, label, silo, str(counts[silo, label]), ha="center")


def _shade(
    axes: Axes, strength: NDArray[np.float64], extent: tuple[float, float, float, float] | None = None
) -> None:
    """Colour cells by values from 0 to 1, of which the square root counts."""
    image = np.empty((*strength.shape, 4))
    image[..., :3] = to_rgb(svg.CELLS)
    image[..., 3] = FULLEST * np.sqrt(strength)
    # A cell of one pixel would be a blot in programs that smooth the images of an SVG.
    pixels = max(1, min(CELL_PIXELS, MOST_PIXELS // max(strength.shape)))
    image = image.repeat(pixels, axis=0).repeat(pixels, axis=1)
    rows, columns = strength.shape
    places = extent or (-0.5, columns - 0.5, rows - 0.5, -0.5)
    axes.imshow(image, aspect="auto", interpolation="none", extent=places)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _name_classes(axes: Axes, names: tuple[str, ...]) -> None:
    if len(names) <= FEW_CLASSES:
        shown = [name if len(name) <= 14 else f"{name[:13]}…" for name in names]
        upright = max(map(len, shown)) > math.ceil(40 / len(names))
        axes.set_xticks(range(len(names)), shown, rotation=90 if upright else 0)
        axes.set_xlabel("class")
    else:
        svg.whole_numbers(axes.xaxis)
        axes.set_xlabel(f"number of the class ({len(names)} classes)")


def _paint_sizes(axes: Axes, sizes: tuple[int, ...]) -> None:
    if len(sizes) <= BARS:
        axes.barh(range(len(sizes)), sizes, color=svg.SILOS, height=0.75)
    else:  # one outline, where each bar is thinner than a pixel
        edges = np.arange(len(sizes) + 1) - 0.5
        axes.stairs(sizes, edges, orientation="horizontal", fill=True, color=svg.SILOS)
    axes.set_xlim(0, max(*sizes, 1) * (1.35 if len(sizes) <= COUNTED_SILOS else 1.05))
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="both", length=0, labelleft=False)
    axes.set_xlabel("samples")
    if len(sizes) <= COUNTED_SILOS:
        axes.set_xticks([])
        for silo, size in enumerate(sizes):
            _write(axes, size + 0.03 * max(sizes), silo, str(size), ha="left")
    else:
        axes.set_xticks([0, max(sizes)])


def _write(axes: Axes, x: float, y: float, text: str, ha: str) -> None:
    # Left out of the layout, since it is inside the axes anyway and measuring it takes long.
    axes.text(x, y, text, ha=ha, va="center", fontsize=10.5, in_layout=False)


def _paint_rates(axes: Axes, rates: NDArray[np.float64], rounds: range) -> None:
    extent = (rounds[0] - 0.5, rounds[-1] + 0.5, len(rates) - 0.5, -0.5)
    _shade(axes, np.clip(np.nan_to_num(rates) / CHANCE, 0, 1), extent)
    axes.set_xlabel("round")
    svg.whole_numbers(axes.xaxis)
    if len(rates) <= WRITTEN_LAYERS and len(rounds) <= WRITTEN_ROUNDS:
        for (layer, place), rate in np.ndenumerate(rates):
            if np.isfinite(rate):
                _write(axes, rounds[place], layer, f"{100 * rate:.0f}", ha="center")


def _name_layers(axes: Axes, layers: Sequence[LayerGates]) -> None:
    if len(layers) <= FEW_LAYERS:
        names = [each.layer if len(each.layer) <= 24 else f"…{each.layer[-23:]}" for each in layers]
        axes.set_yticks(range(len(layers)), names, fontsize=11.5)
    else:
        svg.whole_numbers(axes.yaxis)
        axes.set_ylabel(f"gated call in forward order ({len(layers)})")


def _paint_densities(axes: Axes, layers: Sequence[LayerGates]) -> None:
    places = range(len(layers))
    shares = [np.nan_to_num(drawable(layer.density)) for layer in layers]
    axes.barh(places, shares, color=svg.SILOS, alpha=0.55, height=0.7)
    axes.plot([drawable(layer.own_density) for layer in layers], places, "|", color=svg.INK, markersize=8)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="both", length=0, labelleft=False)
    axes.set_xlabel("open")
