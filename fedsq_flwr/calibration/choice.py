"""From finished runs to the values of each method. Validation figures are read, test figures never."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedsq_flwr.calibration.grid import value_of
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.records.config import CONFIG, read_config
from fedsq_flwr.records.summary import read_summary
from fedsq_flwr.settings.overrides import Value
from fedsq_flwr.sweeps.outcomes import Event, State

#: What the line says of a run whose weights or losses overflowed.
_DIVERGED = "not finite"


@dataclass
class Try:
    """One combination of values for one method, over all seeds.

    Attributes
    ----------
    method : str
        Its name.
    values : mapping of str to value
        The settings that the grid varies.
    best : dict of int to float
        For each seed the best round's `Summary.score`, by default its validation accuracy; none for a seed whose run
        diverged.
    mean : dict of int to float
        For each seed the mean validation accuracy over the rounds.
    diverged : list of int
        Seeds whose runs did.
    """

    method: str
    values: Mapping[str, Value]
    best: dict[int, float] = field(default_factory=dict)
    mean: dict[int, float] = field(default_factory=dict)
    diverged: list[int] = field(default_factory=list)

    @property
    def figures(self) -> tuple[float, float] | None:
        """Best score, and mean accuracy over the rounds, both mean over seeds; None if a seed diverged.

        They are rounded, so that tries that are equal as fractions are equal here.
        """
        if self.diverged:
            return None
        return round(statistics.fmean(self.best.values()), 9), round(statistics.fmean(self.mean.values()), 9)


def gather(events: Sequence[Event], settings: Sequence[str]) -> list[Try]:
    """Return the tries that the jobs of a sweep made, in the order of the jobs.

    Raises
    ------
    RunFailedError
        If a run has no score on validation.
    """
    tries: dict[tuple[object, ...], Try] = {}
    for event in sorted(events, key=lambda event: event.number):
        directory = Path(event.directory)
        config = read_config(directory / CONFIG)
        values = {name: value_of(config, name) for name in settings}
        made = tries.setdefault((config.method.name, *values.values()), Try(config.method.name, values))
        if event.state is State.FAILED:
            made.diverged.append(config.seed)
            continue
        summary = read_summary(directory)
        if summary.score is None or summary.accuracy_auc is None:
            raise RunFailedError(f"{directory}: has no validation {config.select_by} to choose by")
        made.best[config.seed], made.mean[config.seed] = summary.score, summary.accuracy_auc
    return list(tries.values())


def diverged(event: Event) -> bool:
    """Whether a failed job diverged, which is a result."""
    return event.state is State.FAILED and _DIVERGED in event.error


def choose(tries: Sequence[Try]) -> dict[str, Try]:
    """Return the try of each method with the best score on validation, by `Try.figures`.

    A tie of the best is decided by the mean accuracy over the rounds, and then by the order of the tries.

    Raises
    ------
    RunFailedError
        If all tries of a method diverged.
    """
    chosen: dict[str, Try] = {}
    for method in dict.fromkeys(each.method for each in tries):
        measured = [(each.figures, each) for each in tries if each.method == method and each.figures is not None]
        if not measured:
            raise RunFailedError(f"every try of {method} diverged; try lower learning rates")
        chosen[method] = max(measured, key=lambda pair: pair[0])[1]  # of equals the first
    return chosen


def doubts(best: Try, tries: Sequence[Try]) -> list[str]:
    """Return warnings about the choice: tries that end alike, a value at the edge of the grid.

    A setting with two values has no inside, so only one with three or more has an edge.
    """
    own = [each for each in tries if each.method == best.method]
    if len(own) > 1 and len({each.figures and each.figures[0] for each in own}) == 1:
        return [f"all {len(own)} tries end alike: this grid, or this task, does not tell them apart"]
    told = []
    for name, value in best.values.items():
        values = {each.values[name] for each in own}
        numbers = sorted(each for each in values if isinstance(each, int | float) and not isinstance(each, bool))
        if 3 <= len(values) == len(numbers) and value in (numbers[0], numbers[-1]):
            told.append(f"{name}={value} is the {'lowest' if value == numbers[0] else 'highest'} that was tried")
    return told
