"""The partition as a picture: silos by classes, the silos' sizes beside them."""

import math
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fedsq_flwr.report import svg
from fedsq_flwr.report.records import Partition

FEW_CLASSES = 20  # each named; more are numbered
FEW_SILOS = 25
COUNTED_CLASSES = 12  # up to here a cell is wide enough for its count
COUNTED_SILOS = 20  # and up to here high enough
FULLEST = 0.75  # opacity of the fullest cell: a count in it can still be read, on white and on black


def partition_picture(partition: Partition, name: str = "partition") -> str:
    """Draw a cell for each silo and class, the stronger the more samples, and a bar for each silo's size.

    A heat map reads well from 2 to 100 silos and classes, where bubbles and stacked bars do not.
    Opacity goes with the square root of the count, since a few big cells would hide all others. `name` is
    another one for each picture of a page.
    """
    paint = partial(_paint, partition)
    return svg.draw(name, "Samples of each class in each silo", _height(partition), paint)


def partition_file(partition: Partition, kind: str) -> bytes:
    """Draw the same as the content of a file, ``png`` or ``svg``."""
    return svg.draw_file("partition", _height(partition), partial(_paint, partition), kind)


def _height(partition: Partition) -> float:
    return min(max(1.3 + 0.27 * len(partition.counts), 2.4), 5.4)


def _paint(partition: Partition, figure: Figure) -> None:
    counts = np.array(partition.counts)
    cells, sizes = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    cells.grid(visible=False)
    sizes.grid(visible=False)
    _paint_cells(cells, counts)
    _name_classes(cells, partition.class_names)
    cells.set_ylabel("silo")
    if len(counts) <= FEW_SILOS:
        cells.set_yticks(range(len(counts)))
    else:
        svg.whole_numbers(cells.yaxis)
    _paint_sizes(sizes, partition.sizes)


def _paint_cells(axes: Axes, counts: NDArray[np.int_]) -> None:
    silos, classes = counts.shape
    image = np.empty((silos, classes, 4))
    image[..., :3] = to_rgb(svg.CELLS)
    image[..., 3] = FULLEST * np.sqrt(counts / max(counts.max(), 1))
    axes.imshow(image, aspect="auto", interpolation="none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if silos <= COUNTED_SILOS and classes <= COUNTED_CLASSES:
        for silo, label in np.ndindex(counts.shape):
            if counts[silo, label]:
                _write(axes, label, silo, str(counts[silo, label]), ha="center")


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
    axes.barh(range(len(sizes)), sizes, color=svg.SILOS, height=0.75)
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
    axes.text(x, y, text, ha=ha, va="center", fontsize=9.5, in_layout=False)
