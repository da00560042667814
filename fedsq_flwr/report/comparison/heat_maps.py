"""Methods by conditions, as pictures: mean accuracies, and differences to the baseline."""

import textwrap
from collections.abc import Callable

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fedsq_flwr.report import numerals, svg
from fedsq_flwr.report.comparison import measures
from fedsq_flwr.report.comparison.analysis import Comparison, Row
from fedsq_flwr.report.comparison.cells import Arm

FAINTEST, STRONGEST = 0.06, 0.72  # opacities: a number can be read on either, on white and on black
NAME = 28  # characters of a line of a method's name, and of a condition's
WRITTEN = 8  # columns up to which a cell is wide enough for its number
BESIDE = 60  # characters of the conditions' names, all as long as the longest, that fit beside one another
CHARACTER = 0.08  # inches that one of them takes where they stand on end

Array = NDArray[np.float64]


def best_accuracies(comparison: Comparison) -> str:
    """Draw the mean best validation accuracy of each method under each condition: the stronger, the higher."""
    arms = list(comparison.groups.arms)
    table = _table(comparison, _mean, arms)
    low, high = np.nanmin(table), np.nanmax(table)
    strength = (table - low) / (high - low) if high > low else np.where(np.isfinite(table), 0.5, np.nan)
    colours = np.broadcast_to(to_rgb(svg.CELLS), (*table.shape, 3))
    title = "Best validation accuracy by method and condition"
    return _draw("heat-best", title, comparison, arms=arms, table=table, colours=colours, strength=strength)


def differences(comparison: Comparison) -> str:
    """Draw the mean paired differences to the baseline: blue where the method is above, orange where it is below."""
    arms = [arm for arm in comparison.groups.arms if arm.method != comparison.baseline]
    table = _table(comparison, _difference, arms)
    strength = np.abs(table) / (np.nanmax(np.abs(table)) or 1.0)
    colours = np.where((table >= 0)[..., None], to_rgb(svg.VALIDATION), to_rgb(svg.TEST))
    title = f"Difference to {comparison.baseline} by method and condition"
    return _draw(
        "heat-difference",
        title,
        comparison,
        arms=arms,
        table=table,
        colours=colours,
        strength=strength,
        write=_signed,
    )


def has_differences(comparison: Comparison) -> bool:
    """Whether any method can be compared with the baseline."""
    return any(np.isfinite(_difference(row)) for section in comparison.sections for row in section.best)


def _mean(row: Row) -> float:
    found = row.spreads.get(measures.BEST.key)
    return found.mean if found else np.nan


def _difference(row: Row) -> float:
    found = row.differences.get(measures.BEST.key)
    return found.mean if found else np.nan


def _table(comparison: Comparison, read: Callable[[Row], float], arms: list[Arm]) -> Array:
    table = np.full((len(arms), len(comparison.sections)), np.nan)
    for column, section in enumerate(comparison.sections):
        for row in section.best:
            if row.cell.arm in arms:
                table[arms.index(row.cell.arm), column] = read(row)
    return table


def _draw(
    name: str,
    title: str,
    comparison: Comparison,
    *,
    arms: list[Arm],
    table: Array,
    colours: Array,
    strength: Array,
    write: Callable[[float], str] = numerals.accuracy,
) -> str:
    names = [textwrap.fill(arm.label, NAME) for arm in arms]
    lines = max(name.count("\n") + 1 for name in names)
    image = np.zeros((*table.shape, 4))
    image[..., :3] = colours
    opacity = FAINTEST + (STRONGEST - FAINTEST) * strength
    image[..., 3] = np.where(np.isfinite(table), opacity, 0.0)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        axes.imshow(image, aspect="auto", interpolation="none")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_yticks(range(len(arms)), names)
        axes.set_xticks(range(len(labels)), labels, rotation=90 if upright else 0)
        if by_alpha:
            axes.set_xlabel("Dirichlet alpha: the smaller, the more the silos differ")
        if table.shape[1] <= WRITTEN:
            for (row, column), value in np.ndenumerate(table):
                text = write(float(value)) if np.isfinite(value) else numerals.NOTHING
                axes.text(column, row, text, ha="center", va="center", fontsize=10.5, in_layout=False)

    conditions = comparison.groups.conditions
    by_alpha = all(condition.alpha is not None for condition in conditions)
    labels = [f"{each.alpha:g}" if by_alpha else _cut(each.label) for each in conditions]
    longest = max(map(len, labels))
    upright = longest * len(labels) > BESIDE
    below = CHARACTER * longest if upright else 0.0
    return svg.draw(name, title, below + max(1.2 + max(0.36, 0.2 * lines) * len(arms), 2.0), paint)


def _signed(value: float) -> str:
    return numerals.signed(value, measures.BEST.decimals)


def _cut(text: str) -> str:
    return text if len(text) <= NAME else f"{text[: NAME - 1]}…"
