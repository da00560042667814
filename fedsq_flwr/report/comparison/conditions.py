"""The conditions that runs are of: mostly one each."""

from collections.abc import Sequence

from fedsq_flwr.report.captions import about_partition
from fedsq_flwr.report.comparison.cells import Condition
from fedsq_flwr.report.comparison.collecting import Entry
from fedsq_flwr.report.comparison.settings import POOLED, Values, describe, is_of_sharing, pick


def conditions_of(
    entries: Sequence[Entry], settings: Sequence[Values], of_condition: Sequence[str], names: Sequence[str]
) -> list[list[Condition]]:
    """Return the conditions of each run: one; none without a readable round.

    A method that has all samples in one place goes beside the others, since what it shows is the price of sharing
    out: it is in each of their conditions that differs in how samples are shared out alone.

    Parameters
    ----------
    entries : sequence of Entry
        The runs.
    settings : sequence of mapping
        Theirs, as far as they are compared.
    of_condition : sequence of str
        The settings that make a condition.
    names : sequence of str
        All settings that vary.
    """
    own = []
    for entry, values in zip(entries, settings, strict=True):
        chosen = pick(values, of_condition)
        label = describe(chosen, names) or (about_partition(entry.run.settings) if entry.run else "")
        own.append(Condition(chosen, label))
    runs = [(each, values) for each, values, entry in zip(own, settings, entries, strict=True) if entry.run]
    others = list(dict.fromkeys(each for each, values in runs if not values.get(POOLED)))

    def beside(condition: Condition) -> list[Condition]:
        return [each for each in others if _unshared(each) == _unshared(condition)]

    return [
        ((values.get(POOLED) and beside(condition)) or [condition]) if entry.run else []
        for entry, values, condition in zip(entries, settings, own, strict=True)
    ]


def _unshared(condition: Condition) -> list[tuple[str, object]]:
    return [(name, value) for name, value in condition.chosen if not is_of_sharing(name)]
