"""A rule that chooses how many gates to fix: after a trial round of each method, the one with the least drift.

The methods are FedAvg (no gates fixed), FedSQ (all) and late gates (the last third), each at its own tuned rate. The
rule is held to the same budget: its curve begins with the trial rounds of the methods that lost, and the winner's
run is shorter by as many rounds.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.experiments.results import Results

METHODS = ("fedavg", "fedsq_late_gates", "fedsq")
Line = Mapping[str, Any]
_VARIED = ("method", "learning_rate", "seed")


@dataclass(frozen=True)
class Trial:
    """The runs of one seed of a task, each method at its own rate.

    Attributes
    ----------
    task : str
        What all runs of all seeds share.
    runs : mapping of str to Line
        By method.
    """

    task: str
    runs: Mapping[str, Line]

    @property
    def choice(self) -> str:
        """The method whose silos moved least in the first round; of equal ones the one that fixes fewer gates."""
        return min(METHODS, key=lambda method: self.runs[method]["drift"][0])

    @property
    def best(self) -> str:
        """The method with the best mean of the rounds."""
        return max(METHODS, key=lambda method: self.runs[method]["mean"])

    @property
    def mean(self) -> float:
        """The mean validation accuracy of the rule's rounds."""
        lost = [self.runs[method]["accuracies"][0] for method in METHODS if method != self.choice]
        return statistics.fmean([*lost, *self.runs[self.choice]["accuracies"][: -len(lost)]])

    @property
    def final(self) -> float:
        """The test accuracy at the end of the rule's rounds."""
        return float(self.runs[self.choice]["test_accuracies"][-len(METHODS)])


def trials_of(found: Results, tuning: Sequence[int], task_of: Callable[[Mapping[str, Any]], str]) -> list[Trial]:
    """Return the trials of all tasks in which each method was run on a seed, at the rate with the most seeds.

    Parameters
    ----------
    found : Results
        The kept lines.
    tuning : sequence of int
        Seeds that are left out of a task which has others.
    task_of : callable
        Names a task by the settings that its runs share.
    """
    arms: dict[tuple[str, str, float], dict[int, Line]] = {}
    for line in found.values():
        settings = dict(line["settings"])
        if line.get("drift") and settings.get("method") in METHODS:
            method, rate, seed = (settings.pop(name) for name in _VARIED)
            arms.setdefault((task_of(settings), method, rate), {})[seed] = line
    made = []
    for task in sorted({task for task, _, _ in arms}):
        chosen = {method: _tuned(arms, task, method) for method in METHODS}
        shared = set.intersection(*(set(runs) for runs in chosen.values()))
        seeds = sorted(shared - set(tuning) or shared)
        made += [Trial(task, {method: runs[seed] for method, runs in chosen.items()}) for seed in seeds]
    return made


def _tuned(arms: Mapping[tuple[str, str, float], dict[int, Line]], task: str, method: str) -> dict[int, Line]:
    """Return the runs by seed at the rate that was chosen: the one that more seeds were run at, or that was best."""
    own = [runs for (a, b, _), runs in arms.items() if (a, b) == (task, method)]
    return max(own, key=lambda runs: (len(runs), statistics.fmean(run["best"] for run in runs.values())), default={})


def rule_table(trials: Sequence[Trial]) -> str:
    """Return a Markdown table: for each task the choices, how many were the best, and what the rule and each get."""
    head = ("task", "n", "chosen", "best chosen", "rule", *METHODS)
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for task in dict.fromkeys(trial.task for trial in trials):
        own = [trial for trial in trials if trial.task == task]
        chosen = Counter(trial.choice for trial in own)
        told = ", ".join(f"{method} {chosen[method]}" for method in METHODS if chosen[method])
        right = sum(trial.choice == trial.best for trial in own)
        cells = [_cell([trial.mean for trial in own], [trial.final for trial in own])]
        for method in METHODS:
            runs = [trial.runs[method] for trial in own]
            cells.append(_cell([run["mean"] for run in runs], [run["final_test"] for run in runs]))
        lines.append(f"| {' | '.join([task, str(len(own)), told, f'{right} of {len(own)}', *cells])} |")
    return "\n".join(lines)


def _cell(means: Sequence[float], finals: Sequence[float]) -> str:
    return f"{statistics.fmean(means):.3f} / {statistics.fmean(finals):.3f}"
