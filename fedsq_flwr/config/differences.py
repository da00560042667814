"""Which settings of two runs differ, other than those that may change when a run is resumed."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

from fedsq_flwr.config.schema import Config

#: May change when a run is resumed. Of the executor, its threads may not; the rounds only where the learning rate
#: is constant, else they say how fast it falls.
FREE = ("rounds", "output", "resume", "executor", "cache_dir", "diagnostics", "min_silos", "trackers")


def differences(before: Config, now: Config, same: Callable[[Any, Any], bool] = operator.eq) -> list[str]:
    """Return the names of the settings, or their groups, that differ.

    Parameters
    ----------
    before, now : Config
        Two runs' settings.
    same : callable
        Tells whether two values are the same: of a setting, or of a group as a dictionary.
    """
    old, new = dataclasses.asdict(before), dataclasses.asdict(now)
    threads = old["executor"]["threads"] != new["executor"]["threads"]
    held = ("rounds",) if now.learning_rate_schedule != "constant" else ()
    changed = [name for name in new if (name not in FREE or name in held) and not same(old[name], new[name])]
    return [*changed, *(["executor.threads"] if threads else [])]
