"""From a matplotlib figure to SVG inside a page, with the page's colours and font and without a date."""

import csv
import html
import json
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO, StringIO
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours, told apart by colour-blind eyes too. Each is a variable of the page's style
# sheet, so that a dark page can give it another value; the one here is for a figure that stands alone.
INK = "#1d2329"
MUTED = "#66707a"
GRID = "#dfe3e7"
PAPER = "#fefefe"
VALIDATION = "#0072b2"
TEST = "#d55e00"
TRAIN = "#009e73"
SILOS = "#7b8794"
WORST = "#cc3311"
PURPLE = "#cc79a7"
ORANGE = "#e69f00"
SKY = "#56b4e9"
CELLS = "#1a9e78"  # part of an image, where the page cannot change it: reads on white and on black

_VARIABLES = MappingProxyType(
    {
        INK: "ink",
        MUTED: "muted",
        GRID: "grid",
        PAPER: "paper",
        VALIDATION: "validation",
        TEST: "test",
        TRAIN: "train",
        SILOS: "silos",
        WORST: "worst",
        PURPLE: "purple",
        ORANGE: "orange",
        SKY: "sky",
    }
)

#: By format, what a file does not say: two files of the same figure are equal.
DATELESS: MappingProxyType[str, dict[str, None]] = MappingProxyType(
    {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
    }
)
METHOD = "method-"  # begins the name of the group of what is drawn of a method
MOST_SPOTS = 4000  # of a figure that tell their values
WIDTH = 6.6  # inches at 72 points: half of a wide page, nearly a telephone's width


#: The names of columns, and rows of what is drawn.
Table = tuple[Sequence[str], Iterable[Sequence[object]]]


class Canvas(Figure):
    """A figure with notes: what is said of a place in it that somebody points at."""

    def __init__(self, height: float) -> None:
        super().__init__(figsize=(WIDTH, height), layout="constrained")
        self._notes: list[tuple[Axes, float, float, str]] = []

    def note(self, axes: Axes, x: float, y: float, text: str) -> None:
        """Say ``text`` of a place; a line's points have their notes from its label."""
        self._notes.append((axes, x, y, text))

    def spots(self) -> list[tuple[float, float, str, str]]:
        """Return x and y in points from the upper left, the text, and the group of what it is about, once drawn.

        There are none of very many: they would make a page large.
        """
        lines = [
            (axes, line) for axes in self.axes for line in axes.lines if not str(line.get_label()).startswith("_")
        ]
        points = [
            (axes, x, y, _text_of(self, axes, str(line.get_label()), x, y), line.get_gid() or "")
            for axes, line in lines
            for x, y in zip(*map(np.ravel, line.get_data()), strict=True)
        ]
        points += [(*note, "") for note in self._notes]
        if len(points) > MOST_SPOTS:
            return []
        width, height = (72 * size for size in self.get_size_inches())
        inches = self.dpi_scale_trans.inverted()
        found = []
        for axes, x, y, text, group in points:
            if np.isfinite(y):
                right, up = 72 * inches.transform(axes.transData.transform((x, y)))
                found.append((round(float(right), 1), round(float(height - up), 1), text, group))
        return [spot for spot in found if 0 <= spot[0] <= width and 0 <= spot[1] <= height]


def _text_of(figure: Figure, axes: Axes, label: str, x: float, y: float) -> str:
    name = axes.get_xlabel() or figure.axes[-1].get_xlabel()
    return f"{' '.join(label.split())}, {name} {x:g}: {axes.get_ylabel()} {y:.4g}"


@dataclass(frozen=True)
class Drawing:
    """A figure: for a page, and as files of several formats.

    Attributes
    ----------
    name : str
        Another one for each figure of a page: the name of its files, and what keeps identifiers apart.
    title : str
        What a screen reader says.
    height : float
        In inches; the width is the same for all.
    paint : Callable[[Canvas], None]
        Puts the content on a fresh canvas.
    table : Table
        The numbers that are drawn.
    """

    name: str
    title: str
    height: float
    paint: Callable[[Canvas], None]
    table: Table

    @cached_property
    def inline(self) -> Markup:
        """An ``<svg>`` element, the same for the same input whenever and wherever it is made."""
        document, spots = self._svg
        # HTML, since matplotlib escapes the texts that it draws.
        return Markup(_inline(document.decode(), self.title, spots))  # noqa: S704

    def file(self, kind: str) -> bytes:
        """Return the content of a file that stands alone, on paper: ``csv``, ``pdf``, ``png`` or ``svg``."""
        if kind == "svg":
            return self._svg[0]
        return self._csv() if kind == "csv" else self._rendered(kind)[0]

    @cached_property
    def _svg(self) -> tuple[bytes, list[tuple[float, float, str, str]]]:
        document, canvas = self._rendered("svg")
        return document, canvas.spots()

    def _rendered(self, kind: str) -> tuple[bytes, Canvas]:
        buffer = BytesIO()
        # Another font than the one measured with is shown, so that its lacking glyphs do not matter.
        with mpl.rc_context(), warnings.catch_warnings():
            mpl.rcdefaults()  # a matplotlibrc of one's own is for other figures
            mpl.rcParams.update(_style(self.name))
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            canvas = Canvas(self.height)
            self.paint(canvas)
            canvas.savefig(buffer, format=kind, metadata=DATELESS[kind], facecolor=PAPER, dpi=120)
        return buffer.getvalue(), canvas

    def _csv(self) -> bytes:
        heads, rows = self.table
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)
        return text.getvalue().encode()


def whole_numbers(axis: Axis) -> None:
    """Label an axis of counts with a few whole numbers."""
    axis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def _style(name: str) -> dict[Any, Any]:
    """Return matplotlib's settings; their names are typed in some of its versions only."""
    return {
        "font.family": ["DejaVu Sans"],
        "font.size": 11.5,
        "text.parse_math": False,  # names of classes are texts, not formulas
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 10.5,
        "ytick.labelsize": 10.5,
        "legend.frameon": False,
        "legend.borderpad": 0.0,
        "legend.handlelength": 1.6,
        "legend.columnspacing": 1.4,
        "lines.linewidth": 2.0,
        "svg.fonttype": "none",  # texts stay texts: small, searchable, in the page's font
        "svg.hashsalt": name,
        "pdf.fonttype": 42,  # texts stay texts here, too
    }


def _inline(document: str, title: str, spots: Sequence[tuple[float, float, str, str]]) -> str:
    """Extract the SVG element, leave colours and font to the page, and tell its script where values are."""
    svg = document[document.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(f"fill: {PAPER}", "fill: none", 1)  # the paper itself
    svg = re.sub(rf'<g id="({METHOD}\d+)"', r'<g class="\1"', svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to groups, and pages want unique ids
    svg = re.sub(r"font: ([\d.]+px) [^;\"<]*", r"font-size: \1", svg)  # as older matplotlib has it
    svg = re.sub(r"font-family: [^;\"<]*;? ?", "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable}, {colour})")
    box = re.search(r'viewBox="[^"]*"', svg)
    content = svg[svg.index(">") + 1 :]
    told = html.escape(json.dumps(spots, separators=(",", ":"), ensure_ascii=False))
    return f'<svg {box[0] if box else ""} role="img" aria-label="{html.escape(title)}" data-spots="{told}">{content}'
