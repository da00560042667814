"""What trackers receive: settings and figures, and nothing else.

Not told are images and weights, paths and addresses, the names and figures of single silos, what silos said, and the
text of errors, which may name files.
"""

from collections.abc import Mapping
from typing import Any

from fedsq_flwr.files import plain
from fedsq_flwr.records.history import Line
from fedsq_flwr.records.summary import Summary
from fedsq_flwr.settings.backbone import is_path
from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.fields import Fact, facts_of
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.trackers.tracker import Setting

#: Measures on a set of samples: of a line of the history, and of a summary.
_MEASURES = ("measures", "test_measures", "held_out_measures", "final_measures")
#: Numbers of summary.json that are no results; settings are told at the start.
_NO_RESULTS = ("schema", "alpha")


def settings_of(settings: RunSettings) -> dict[str, Setting]:
    """Return the settings by their names on the command line; lists as text, null as ``null``."""
    weights = settings.backbone.weights
    told = {
        name: _told(value)
        for name, value in flat(settings.plain()).items()
        if not {Fact.PATH, Fact.PLACE} & facts_of(RunSettings, name)
    }
    return {**told, "backbone.weights": "a file" if is_path(weights) else weights}


def metrics_of(line: Line) -> dict[str, float]:
    """Return the figures of a line of the history, under its names; what was not measured is left out.

    Those of the diagnostics are those of the whole network, under ``diagnostics.``. Measures are under the names of
    their sets, such as ``test_measures.macro_f1``, without those of single classes.
    """
    told = plain(line)
    groups = {name: told.get(name) or {} for name in ("diagnostics", *_MEASURES)}
    figures = {**_numbers(told), **_numbers(flat(groups))}
    figures.pop("round", None)
    return figures


def summary_of(summary: Summary) -> dict[str, float]:
    """Return the results of a summary, with ``summary/`` before their names.

    A round's ``test_accuracy`` and the summary's, that of the best round, are two things.
    """
    settings, told = RunSettings.model_fields, plain(summary)
    figures = {**_numbers(told), **_numbers(flat({name: told.get(name) or {} for name in _MEASURES}))}
    results = {name: value for name, value in figures.items() if name not in {*settings, *_NO_RESULTS}}
    return {f"summary/{name}": value for name, value in results.items()}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _told(value: Any) -> Setting:
    return "null" if value is None else value if isinstance(value, str | int | float) else str(value)
