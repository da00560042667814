"""Which settings of two runs differ, other than those that may change when a run is resumed."""

import operator
from collections.abc import Callable
from typing import Any

from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.fields import Fact, facts_of
from fedsq_flwr.settings.run import RunSettings

_FREE = {Fact.NO_NUMBER, Fact.RESUMABLE}


def changes(before: RunSettings, now: RunSettings, same: Callable[[Any, Any], bool] = operator.eq) -> list[str]:
    """Return the names of the settings that differ and must not, since they change the numbers of later rounds.

    Parameters
    ----------
    before, now : RunSettings
        Of the run that is there, and of the one that is to continue it.
    same : callable
        Tells whether two values are the same.
    """
    old, new = flat(before.plain()), flat(now.plain())
    # Where the learning rate falls over the rounds, their number says how fast.
    held = {"rounds"} if now.learning_rate_schedule != "constant" else set()
    return [
        name
        for name in dict.fromkeys([*new, *old])
        if (name in held or not _FREE & facts_of(RunSettings, name)) and not same(old.get(name), new.get(name))
    ]
