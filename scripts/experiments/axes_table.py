"""One axis at a time: each method at its own best rate, and its lead over FedAvg by seed."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.experiments.pairs import difference
from scripts.experiments.plans import AXES, METHODS, RATES, TUNING, Run, Settings, at_rates, best_of
from scripts.experiments.results import Results

_HEAD = ("point", "method", "rate", "n", "mean of the rounds", "best validation", "final test")
_MEASURES = ("mean", "best", "final_test")
_TASK = "digits"


def axes_table(found: Results) -> str:
    """Return a Markdown table with a row for each point and method; a point with a run missing is left out.

    The rate is chosen among those of the plan by the best validation accuracy, then by the mean of the rounds. Leads
    are paired by seed, with the 95 % interval of Student's t.
    """
    lines = [f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
    for point, _ in AXES:
        arms = {
            arm["method"]: best_of(at_rates({**point, **arm}, RATES[_TASK]), TUNING[_TASK], found) for arm in METHODS
        }
        runs = {method: _runs(arm, found) for method, arm in arms.items()}
        if not all(runs.values()):
            continue
        plain = runs["fedavg"]
        for method in ("fedavg", *(each for each in arms if each != "fedavg")):
            cells = [_cell(measure, runs[method], plain) for measure in _MEASURES]
            row = (_label(point), f"`{method}`", f"{arms[method]['learning_rate']:g}", str(len(plain)), *cells)
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _runs(arm: Settings, found: Results) -> Sequence[Mapping[str, Any]]:
    """Return the runs of all seeds, none if one is missing or failed."""
    runs = [found.get(Run({**arm, "seed": seed}).name, {}) for seed in TUNING[_TASK]]
    return runs if all("best" in run for run in runs) else []


def _cell(measure: str, runs: Sequence[Mapping[str, Any]], plain: Sequence[Mapping[str, Any]]) -> str:
    own, reference = [run[measure] for run in runs], [run[measure] for run in plain]
    told = f"{statistics.fmean(own):.3f} ± {statistics.stdev(own):.3f}"
    if runs is plain:
        return told
    lead = difference(own, reference)
    return f"{told} ({lead.mean:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}])"


def _label(point: Settings) -> str:
    own = {name: value for name, value in point.items() if name not in ("experiment", "partition.alpha")}
    return ", ".join(
        [f"Dirichlet({point['partition.alpha']})", *(f"`{name}={value}`" for name, value in own.items())]
    )
