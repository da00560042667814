"""Colour, line and marker of each method in every figure of a page, and the legend."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedsq_flwr.report import svg
from fedsq_flwr.report.comparison.grouping import Arm
from fedsq_flwr.report.figures import DASHED, DOTTED

# Seven colours, four lines and nine markers: no two of the first 252 methods look the same, and neighbours
# differ in all three. The first one is the baseline's, if there is one.
COLOURS = (svg.INK, svg.VALIDATION, svg.TEST, svg.TRAIN, svg.PURPLE, svg.ORANGE, svg.SKY)
LINES = ("-", DASHED, DOTTED, (0, (5, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
BAND = 0.13  # opacity
FEW_BANDS = 6  # more of them would be one grey
LABEL = 34  # characters of a line of the legend
MANY, SHORT_LABEL = 8, 20  # with this many methods, lines are shorter, for three columns
WIDE = 92  # characters of a row of the legend, handles among them
HANDLE = 6  # characters that a handle takes


@dataclass(frozen=True)
class Look:
    """How a method is drawn, and the name of its group in a page's figures."""

    colour: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str
    group: str


def looks(arms: Sequence[Arm]) -> dict[Arm, Look]:
    """Assign a style to each method."""
    return {
        arm: Look(
            COLOURS[place % len(COLOURS)],
            LINES[place % len(LINES)],
            MARKERS[place % len(MARKERS)],
            f"{svg.METHOD}{place}",
        )
        for place, arm in zip(count(), arms, strict=False)
    }


def plot(axes: Axes, xs: Sequence[float], ys: Sequence[float], look: Look, label: str, *, dots: bool = True) -> None:
    """Draw a method's line."""
    axes.plot(
        xs,
        ys,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker if dots else "",
        markersize=4.5,
        label=label,
        gid=look.group,
    )


def band(axes: Axes, xs: Sequence[float], low: Sequence[float], high: Sequence[float], look: Look) -> None:
    """Fill the area between two lines."""
    axes.fill_between(xs, low, high, color=look.colour, alpha=BAND, linewidth=0, zorder=1, gid=look.group)


def label_of(arm: Arm, arms: int) -> str:
    """Break a long label into lines that fit a legend of ``arms`` entries."""
    return textwrap.fill(arm.label, LABEL if arms < MANY else SHORT_LABEL, break_on_hyphens=False)


def legend(figure: Figure, axes: Axes) -> None:
    """Put the legend above the figure, in as many columns as its labels let fit."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:  # nothing was measured
        return
    drawn = figure.legend(handles, labels, loc="outside upper left", ncols=_columns(labels), handlelength=2.6)
    for handle, shown, text in zip(handles, drawn.legend_handles, drawn.texts, strict=True):
        for part in (shown, text):
            if part is not None and isinstance(handle, Artist):
                part.set_gid(handle.get_gid())


def legend_height(arms: Sequence[Arm]) -> float:
    """Return the inches that the legend takes."""
    labels = [label_of(arm, len(arms)) for arm in arms]
    rows = -(-len(labels) // _columns(labels))
    columns = [labels[start : start + rows] for start in range(0, len(labels), rows)]
    return 0.2 * max(sum(label.count("\n") + 1 for label in column) for column in columns)


def _columns(labels: Sequence[str]) -> int:
    longest = max(len(line) for label in labels for line in label.splitlines())
    return max(1, min(WIDE // (longest + HANDLE), 5, len(labels)))
