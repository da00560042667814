"""From a matplotlib figure to SVG inside a page, with the page's colours and font and without a date."""

import html
import re
import warnings
from collections.abc import Callable
from io import BytesIO
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
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

WIDTH = 6.6  # inches at 72 points: half of a wide page, nearly a telephone's width


def draw(name: str, title: str, height: float, paint: Callable[[Figure], None]) -> str:
    """Draw one figure.

    Parameters
    ----------
    name : str
        Another one for each figure of a page: it keeps their identifiers apart.
    title : str
        What a screen reader says.
    height : float
        In inches; the width is the same for all.
    paint : Callable[[Figure], None]
        Puts the content on a fresh figure.

    Returns
    -------
    str
        An ``<svg>`` element, the same for the same input whenever and wherever it is made.
    """
    return _inline(_render(name, height, paint, format="svg").decode(), title)


def draw_file(name: str, height: float, paint: Callable[[Figure], None], kind: str) -> bytes:
    """Draw one figure as the content of a file that stands alone, on paper.

    Parameters
    ----------
    name, height, paint
        As for `draw`.
    kind : {"png", "svg"}
        The format.
    """
    return _render(name, height, paint, format=kind, facecolor=PAPER, dpi=120)


def _render(name: str, height: float, paint: Callable[[Figure], None], **saving: Any) -> bytes:
    buffer = BytesIO()
    dateless = {"Date": None, "Creator": None} if saving["format"] == "svg" else {"Software": None}
    # Another font than the one measured with is shown, so that its lacking glyphs do not matter.
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # a matplotlibrc of one's own is for other figures
        mpl.rcParams.update(_style(name))
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure)
        figure.savefig(buffer, metadata=dateless, **saving)
    return buffer.getvalue()


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
    }


def _inline(document: str, title: str) -> str:
    """Extract the SVG element and leave colours and font to the page."""
    svg = document[document.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to groups, and pages want unique ids
    svg = re.sub(r"font: ([\d.]+px) [^;\"<]*", r"font-size: \1", svg)  # as older matplotlib has it
    svg = re.sub(r"font-family: [^;\"<]*;? ?", "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable}, {colour})")
    box = re.search(r'viewBox="[^"]*"', svg)
    content = svg[svg.index(">") + 1 :]
    return f'<svg {box[0] if box else ""} role="img" aria-label="{html.escape(title)}">{content}'
