"""The lead of fixed gates over the ratios that may foretell it, drawn for a slide."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from scripts.experiments.diagnoses import RATIOS, Pair

# Okabe and Ito's colours, which colour-blind eyes tell apart, for the experiments; markers for the tasks of each.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_TICKS = (0.25, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6)  # of the ratios


def draw(pairs: Sequence[Pair], file: Path) -> None:
    """Draw the lead over each ratio, for a slide, into ``file``, whose suffix says the format."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots(1, len(RATIOS), sharey=True)
    looks = _looks(sorted({pair.task for pair in pairs}))
    for axis, (name, ratio) in zip(np.atleast_1d(axes), RATIOS.items(), strict=True):
        for task, (colour, marker) in looks.items():
            own = [pair for pair in pairs if pair.task == task]
            axis.scatter(
                [ratio(pair) for pair in own],
                [pair.lead for pair in own],
                s=45,
                color=colour,
                marker=marker,
                alpha=0.75,
                edgecolors="white",
                linewidths=0.6,
                label=textwrap.fill(task, 50),
            )
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator(_TICKS))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.axvline(1, color="#66707a", linewidth=0.8)
        axis.axhline(0, color="#66707a", linewidth=0.8)
        axis.set_xlabel(f"{name}: fixed gates to FedAvg", fontsize=12)
        axis.tick_params(labelsize=12)
        axis.grid(color="#dfe3e7", linewidth=0.6)
        axis.set_axisbelow(True)
    first = np.atleast_1d(axes)[0]
    first.set_ylabel("lead in the mean of the rounds", fontsize=13)
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=9.5, frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def _looks(tasks: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each task; tasks of one experiment have one colour."""
    experiments = list(dict.fromkeys(task.partition(",")[0] for task in tasks))
    seen: Counter[str] = Counter()
    found = {}
    for task in tasks:
        experiment = task.partition(",")[0]
        colour = _COLOURS[experiments.index(experiment) % len(_COLOURS)]
        found[task] = colour, _MARKERS[seen[experiment] % len(_MARKERS)]
        seen[experiment] += 1
    return found
