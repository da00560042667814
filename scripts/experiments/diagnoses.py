"""Diagnostics joined to the outcome: each run of FedSQ beside the run of FedAvg with the same task, rate and seed.

The lead is FedSQ's accuracy less FedAvg's. A ratio below one says that FedSQ's silos moved less, or that averaging
changed their outputs less. `drift` and `gap` are of the first rounds, since a person who has to choose a method knows
these after one trial round of each.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from scripts.experiments.results import Results, flips_by_quarter, task_of

_EARLY = 2  # rounds that the averaging gap is a mean of: in the first, nothing was averaged before
#: The ratios that may foretell the lead, by their name in tables and figures.
RATIOS: Mapping[str, Callable[["Pair"], float]] = {
    "drift in round 1": lambda pair: pair.drift,
    "averaging gap in rounds 1 and 2": lambda pair: pair.gap,
}
#: Settings of a run whose method is as it is shipped.
_PLAIN = {
    *("experiment", "backbone.weights", "data.limit", "data.test_limit", "partition.alpha"),
    *("method", "method.gate_statistics", "learning_rate", "seed"),
}


@dataclass(frozen=True)
class Pair:
    """A run with fixed gates beside FedAvg's.

    Attributes
    ----------
    task : str
        Everything that both runs share, without rate and seed.
    method : str
        With fixed gates.
    rate : float
        The learning rate of both.
    lead, final_lead : float
        In the mean validation accuracy of the rounds, and in the test accuracy after the last.
    drift, gap : float
        Ratios, see `RATIOS`.
    flips : float
        The share of gates that differ from FedAvg's own signs after its last round.
    """

    task: str
    method: str
    rate: float
    lead: float
    final_lead: float
    drift: float
    gap: float
    flips: float

    @property
    def foretold(self) -> bool:
        """Whether the smaller drift was that of the method with the better mean of the rounds."""
        return (self.drift < 1) == (self.lead > 0)


def pairs_of(found: Results, methods: Sequence[str] = ("fedsq", "fedsq_late_gates")) -> list[Pair]:
    """Return all pairs among the runs that are kept; runs without diagnostics make none.

    Nor do those that train the head alone first: in round 1 their drift does not depend on the gates.
    """
    lines = [line for line in found.values() if line.get("gap") and line.get("drift")]
    lines = [line for line in lines if "linear_probing_rounds" not in line["settings"]]
    plain = {_shared(line): line for line in lines if line["settings"].get("method") == "fedavg"}
    made = []
    for line in lines:
        method, other = line["settings"].get("method"), plain.get(_shared(line))
        if method in methods and other is not None:
            made.append(_pair(method, line, other))
    return made


def _shared(line: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(value)) for name, value in line["settings"].items() if name != "method"))


def _pair(method: str, line: Mapping[str, Any], other: Mapping[str, Any]) -> Pair:
    settings = {name: value for name, value in line["settings"].items() if name not in ("method", "seed")}
    rate = settings.pop("learning_rate")
    gaps = [statistics.fmean([gap for gap in run["gap"][:_EARLY] if gap is not None]) for run in (line, other)]
    return Pair(
        task=task_of(settings),
        method=method,
        rate=rate,
        lead=line["mean"] - other["mean"],
        final_lead=line["final_test"] - other["final_test"],
        drift=line["drift"][0] / other["drift"][0],
        gap=gaps[0] / gaps[1],
        flips=other["flips"],
    )


def table(pairs: Iterable[Pair]) -> str:
    """Return a Markdown table: a row for each task, method and rate; ratios are geometric means over seeds."""
    head = ("task", "method", "rate", "n", *RATIOS, "flips of FedAvg", "lead, mean of rounds", "lead, final test")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for (task, method, rate), group in sorted(_rows(pairs).items()):
        ratios = [f"{statistics.geometric_mean([ratio(pair) for pair in group]):.2f}" for ratio in RATIOS.values()]
        told = [(pair.flips, pair.lead, pair.final_lead) for pair in group]
        means = [statistics.fmean(values) for values in zip(*told, strict=True)]
        shown = [f"{means[0]:.2f}", f"{means[1]:+.3f}", f"{means[2]:+.3f}"]
        lines.append(f"| {' | '.join([task, method, f'{rate:g}', str(len(group)), *ratios, *shown])} |")
    return "\n".join(lines)


def _rows(pairs: Iterable[Pair]) -> dict[tuple[str, str, float], list[Pair]]:
    rows: dict[tuple[str, str, float], list[Pair]] = {}
    for pair in pairs:
        rows.setdefault((pair.task, pair.method, pair.rate), []).append(pair)
    return rows


def flips_table(found: Results, methods: Sequence[str] = ("fedavg", "fedsq")) -> str:
    """Return a Markdown table of the flips by depth: means over the layers of a quarter, and over seeds."""
    rows: dict[tuple[str, str, float], list[list[float]]] = {}
    for line in found.values():
        settings = dict(line["settings"])
        flips = flips_by_quarter(line)
        if flips is not None and settings.get("method") in methods and settings.keys() <= _PLAIN:
            settings.pop("seed")
            method, rate = settings.pop("method"), settings.pop("learning_rate")
            rows.setdefault((task_of(settings), method, rate), []).append(flips)
    head = ("task", "method", "rate", "n", "first quarter", "second", "third", "last")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for (task, method, rate), group in sorted(rows.items()):
        means = [f"{statistics.fmean(quarter):.2f}" for quarter in zip(*group, strict=True)]
        lines.append(f"| {' | '.join([task, method, f'{rate:g}', str(len(group)), *means])} |")
    return "\n".join(lines)


def summary(pairs: Sequence[Pair]) -> str:
    """Return how far each ratio foretells the lead: Spearman's rank correlation, and right guesses by task.

    The correlation is told over the rows of `table`, whose means make up for the unequal numbers of seeds, and over
    the pairs of each task.
    """
    rows = list(_rows(pairs).values())
    tasks = {task: [pair for pair in pairs if pair.task == task] for task in sorted({pair.task for pair in pairs})}
    lines = []
    for name, ratio in RATIOS.items():
        ratios = [statistics.geometric_mean([ratio(pair) for pair in row]) for row in rows]
        told = _correlation(ratios, [statistics.fmean(pair.lead for pair in row) for row in rows])
        lines.append(f"{name}: rank correlation with the lead {told} over {len(rows)} rows")
        for task, own in tasks.items():
            told = _correlation([ratio(pair) for pair in own], [pair.lead for pair in own])
            lines.append(f"  {task}: {told} over {len(own)} pairs")
    for task, own in tasks.items():
        right = sum(pair.foretold for pair in own)
        lines.append(f"the drift in round 1 foretells the better of two: {task}: {right} of {len(own)}")
    return "\n".join(lines)


def _correlation(ratios: Sequence[float], leads: Sequence[float]) -> str:
    defined = len(set(ratios)) > 1 and len(set(leads)) > 1
    return f"{stats.spearmanr(ratios, leads).statistic:+.2f}" if defined else "undefined"
