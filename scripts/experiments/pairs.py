"""Each arm of a plan against FedAvg on the same seeds: differences, intervals, corrected p-values.

A pair is a run of an arm and one of FedAvg with the same task, partition and seed. The seeds that tuned the rates are
left out where there are others. The interval of a mean difference is Student's. The p-value is that of the exact test
over all exchanges of signs, which needs no distribution: with n pairs it is at least 2 / 2^n, so three pairs show
nothing at 0.05 and ten may. The p-values of a table are corrected for their number (Holm, 1979).
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from scripts.experiments.results import Results, task_of

Line = Mapping[str, Any]
#: What is compared, by the name of the column: the name in a kept line.
MEASURES = {
    "mean of the rounds": "mean",
    "best validation": "best",
    "rounds to best": "rounds_to_best",
    "test of the best": "test_of_best",
    "final test": "final_test",
}
#: What makes an arm beside method and rate. Everything else in a run's settings makes the task.
_OPTIONS = ("method.mu", "batch_norm")
_TARGET = 0.95  # of the reference's mean best validation accuracy


@dataclass(frozen=True)
class Difference:
    """An arm less the reference, over pairs.

    Attributes
    ----------
    mean, low, high : float
        The mean difference and its 95 % interval.
    p : float
        Of the exact two-sided test of the mean over exchanges of signs.
    """

    mean: float
    low: float
    high: float
    p: float


def difference(arm: Sequence[float], reference: Sequence[float]) -> Difference:
    """Return the paired difference; there are at least two pairs."""
    found = np.subtract(arm, reference)
    if not found.any():
        return Difference(0.0, 0.0, 0.0, 1.0)
    half = stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / len(found) ** 0.5
    test = stats.permutation_test((found,), np.mean, permutation_type="samples", n_resamples=np.inf)
    return Difference(float(found.mean()), float(found.mean() - half), float(found.mean() + half), float(test.pvalue))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down method."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    corrected, least = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = least
    return corrected


@dataclass(frozen=True)
class Arm:
    """What is compared within a task.

    Attributes
    ----------
    method : str
        By name.
    rate : float or None
        The learning rate, if the run's settings state one.
    options : tuple of (str, object)
        Settings that differ from the method as it is shipped.
    """

    method: str
    rate: float | None
    options: tuple[tuple[str, Any], ...]

    @property
    def is_plain(self) -> bool:
        """Whether this is FedAvg as it is shipped, the reference of all differences."""
        return self.method == "fedavg" and not self.options

    @property
    def label(self) -> str:
        """The arm without its rate."""
        return ", ".join([f"`{self.method}`", *(f"`{name}={value}`" for name, value in self.options)])


def tables(names: Iterable[str], found: Results, tuning: Sequence[int]) -> str:
    """Return a Markdown table for each task among the runs of ``names`` that have ended.

    Parameters
    ----------
    names : iterable of str
        Of runs.
    found : Results
        What is kept of them.
    tuning : sequence of int
        Seeds that are left out of a task which has others.
    """
    tasks: dict[str, dict[Arm, dict[int, Line]]] = {}
    for line in (found[name] for name in names if name in found and "error" not in found[name]):
        settings = dict(line["settings"])
        seed, method = settings.pop("seed", None), settings.pop("method", None)
        if seed is None or method is None:
            continue
        rate = settings.pop("learning_rate", None)
        arm = Arm(method, rate, tuple((name, settings.pop(name)) for name in _OPTIONS if name in settings))
        tasks.setdefault(task_of(settings), {}).setdefault(arm, {})[seed] = line
    return "\n\n".join(text for task, arms in tasks.items() if (text := _table(task, arms, set(tuning))))


def _table(task: str, arms: Mapping[Arm, Mapping[int, Line]], tuning: set[int]) -> str:
    seeds = {seed for runs in arms.values() for seed in runs}
    reported = seeds - tuning or seeds
    kept = {arm: {seed: line for seed, line in runs.items() if seed in reported} for arm, runs in arms.items()}
    plain = [arm for arm, runs in kept.items() if arm.is_plain and runs]
    if not plain:
        return ""
    chosen = max(plain, key=lambda arm: (len(kept[arm]), _mean(kept[arm].values(), "best")))
    reference = kept.pop(chosen)
    target = _TARGET * _mean(reference.values(), "best")
    pairs = {arm: shared for arm, runs in kept.items() if len(shared := sorted(runs.keys() & reference.keys())) > 1}
    compared = {
        (arm, column): difference(*([runs[seed][key] for seed in shared] for runs in (kept[arm], reference)))
        for arm, shared in pairs.items()
        for column, key in MEASURES.items()
    }
    corrected = dict(zip(compared, holm([each.p for each in compared.values()]), strict=True))
    head = (task, "rate", "n", *MEASURES, f"rounds to {target:.3f}")
    rows = [(*_named(chosen, len(reference)), *_own(reference.values()), _reached(reference.values(), target))]
    for arm, shared in pairs.items():
        runs = [kept[arm][seed] for seed in shared]
        cells = [
            f"{own} ({_told(compared[arm, column], corrected[arm, column], column)})"
            for column, own in zip(MEASURES, _own(runs), strict=True)
        ]
        rows.append((*_named(arm, len(shared)), *cells, _reached(runs, target)))
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _named(arm: Arm, count: int) -> tuple[str, str, str]:
    return arm.label, "" if arm.rate is None else f"{arm.rate:g}", str(count)


def _mean(lines: Iterable[Line], key: str) -> float:
    return statistics.fmean(line[key] for line in lines)


def _own(lines: Iterable[Line]) -> list[str]:
    runs, cells = list(lines), []
    for column, key in MEASURES.items():
        values, digits = [run[key] for run in runs], _digits(column)
        spread = statistics.stdev(values) if len(values) > 1 else 0
        cells.append(f"{statistics.fmean(values):.{digits}f} ± {spread:.{digits}f}")
    return cells


def _told(each: Difference, corrected: float, column: str) -> str:
    digits = _digits(column)
    p = "1" if corrected > 0.9995 else f"{corrected:.3f}"
    return f"{each.mean:+.{digits}f} [{each.low:+.{digits}f}, {each.high:+.{digits}f}], p {p}"


def _digits(column: str) -> int:
    return 1 if column.startswith("rounds") else 3


def _reached(lines: Iterable[Line], target: float) -> str:
    rounds = [next((n for n, a in enumerate(line["accuracies"], 1) if a >= target), None) for line in lines]
    known = [each for each in rounds if each is not None]
    if len(known) == len(rounds):
        return f"{statistics.fmean(known):.1f}"
    return f"{len(known)} of {len(rounds)} get there"
