"""A rule that chooses how many gates to fix: after a trial round of each method, the one with the least drift.

The methods are FedAvg (no gates fixed), FedSQ (all) and late gates (the last third), all at one rate, since silos
move further at a higher one. The rule is held to the same budget: its curve begins with the trial rounds of the
methods that lost, and the winner's run is shorter by as many rounds.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.experiments.results import Results, task_of

METHODS = ("fedavg", "fedsq_late_gates", "fedsq")
Line = Mapping[str, Any]
_VARIED = ("method", "learning_rate", "seed")


@dataclass(frozen=True)
class Trial:
    """The runs of one seed of a task at one rate.

    Attributes
    ----------
    task : str
        What all runs of all seeds share.
    rate : float
        The learning rate.
    runs : mapping of str to Line
        By method.
    """

    task: str
    rate: float
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


def trials_of(found: Results) -> list[Trial]:
    """Return the trials in which each method was run, by task, rate and seed."""
    made: dict[tuple[str, float, int, str], dict[str, Line]] = {}
    for line in found.values():
        settings = dict(line["settings"])
        if line.get("drift") and settings.get("method") in METHODS:
            method, rate, seed = (settings.pop(name) for name in _VARIED)
            everything_else = str(sorted(settings.items()))  # the start too, which no task is named by
            made.setdefault((task_of(settings), rate, seed, everything_else), {})[method] = line
    whole = {key: runs for key, runs in sorted(made.items()) if len(runs) == len(METHODS)}
    return [Trial(task, rate, runs) for (task, rate, *_), runs in whole.items()]


def rule_table(trials: Sequence[Trial]) -> str:
    """Return a Markdown table: the choices at each task and rate, how many were best, and what the rule and each get.

    Figures are the mean of the rounds and the final test accuracy, both means over seeds.
    """
    head = ("task", "rate", "n", "chosen", "best chosen", "rule", *METHODS)
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for task, rate in dict.fromkeys((trial.task, trial.rate) for trial in trials):
        own = [trial for trial in trials if (trial.task, trial.rate) == (task, rate)]
        chosen = Counter(trial.choice for trial in own)
        told = ", ".join(f"{method} {chosen[method]}" for method in METHODS if chosen[method])
        right = sum(trial.choice == trial.best for trial in own)
        cells = [_cell([trial.mean for trial in own], [trial.final for trial in own])]
        for method in METHODS:
            runs = [trial.runs[method] for trial in own]
            cells.append(_cell([run["mean"] for run in runs], [run["final_test"] for run in runs]))
        lines.append(f"| {' | '.join([task, f'{rate:g}', str(len(own)), told, f'{right} of {len(own)}', *cells])} |")
    return "\n".join(lines)


def _cell(means: Sequence[float], finals: Sequence[float]) -> str:
    return f"{statistics.fmean(means):.3f} / {statistics.fmean(finals):.3f}"
