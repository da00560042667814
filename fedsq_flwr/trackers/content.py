"""What trackers are told: settings and figures. Nothing else leaves by them.

Not told are images and weights, paths and addresses, the figures of single silos, what silos said, and the text
of errors, which may name files.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from fedsq_flwr.config import Config
from fedsq_flwr.config.backbones import is_path
from fedsq_flwr.trackers.tracker import Setting

#: Settings that name places of this machine or network.
PLACES = (
    "output",
    "cache_dir",
    "data.path",
    "partition.file",
    "partition.groups",
    "executor.gate_cache_dir",
    "executor.root_certificates",
    "executor.superlink",
)
#: Numbers of summary.json that are no results; settings are told at the start.
_NO_RESULTS = ("schema", "alpha")


def settings_of(config: Config) -> dict[str, Setting]:
    """Return the settings by their names on the command line; lists as text, null as ``null``."""
    weights = config.backbone.weights
    return {
        **{name: value for name, value in _flat(dataclasses.asdict(config)) if name not in PLACES},
        "backbone.weights": "a file" if is_path(weights) else weights,
    }


def metrics_of(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a line of the history, under its names; what was not measured is left out.

    Those of the diagnostics are those of the whole network, under ``diagnostics.``.
    """
    figures = {**_numbers(line), **_numbers(dict(_flat({"diagnostics": line.get("diagnostics", {})})))}
    figures.pop("round", None)
    return figures


def summary_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the results of ``summary.json``, with ``summary/`` before their names.

    A round's ``test_accuracy`` and the summary's, that of the best round, are two things.
    """
    settings = {field.name for field in dataclasses.fields(Config)}
    results = {name: value for name, value in _numbers(summary).items() if name not in {*settings, *_NO_RESULTS}}
    return {f"summary/{name}": value for name, value in results.items()}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Setting]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is None:
            yield f"{prefix}{name}", "null"
        else:
            yield f"{prefix}{name}", value if isinstance(value, str | int | float) else str(value)
