"""What is kept of each run, one line of JSON as it ends, and the tables made of the lines."""

import json
import statistics
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

#: A kept line by the name of its run. A run that failed has ``error`` and no figures.
Results = Mapping[str, Mapping[str, Any]]

RESULTS = "results.jsonl"
_NOT_PUBLISHED = ("flips_by_layer", "fingerprint", "weights_sha256", "versions", "machine")
_NAMES = {"imagenet_gates": "ImageNet to CIFAR-10", "cifar10_halves": "CIFAR-10 halves"}
_QUARTERS = "flips_by_quarter"
_COLUMNS = ("rate", "n", "mean of rounds", "best", "round of best", "last", "final test", "averaging gap", "flips")


def read_results(file: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of ``file`` by the names of their runs; empty if there is no file yet."""
    if not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {line["name"]: line for line in lines}


def keep_result(file: Path, line: Mapping[str, Any]) -> None:
    """Append a line."""
    with file.open("a", encoding="utf-8") as out:
        out.write(f"{json.dumps(line)}\n")


def publish(found: Results, folder: Path) -> None:
    """Write the lines into ``folder`` for readers: curves of five digits, flips by quarter, no hashes.

    Single figures stay whole: plans choose rates by them, and rounding would break ties.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for line in found.values():
        kept = {name: value for name, value in line.items() if name not in _NOT_PUBLISHED}
        lines.append({name: _short(value) for name, value in {**kept, _QUARTERS: flips_by_quarter(line)}.items()})
    (folder / RESULTS).write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def flips_by_quarter(line: Mapping[str, Any]) -> list[float] | None:
    """Return the mean flip rate of each quarter of the layers, input first; None if the run had no diagnostics."""
    if line.get(_QUARTERS):
        return list(line[_QUARTERS])
    rates = [rate for _, rate in line.get("flips_by_layer") or ()]
    bounds = [quarter * len(rates) // 4 for quarter in range(5)]
    return [statistics.fmean(rates[a:b]) for a, b in pairwise(bounds)] if len(rates) >= 4 else None


def task_of(settings: Mapping[str, Any]) -> str:
    """Return what a table calls the task; images and start are the same for all runs of an experiment."""
    own = {name: value for name, value in settings.items() if not name.startswith(("data.", "backbone."))}
    experiment = str(own.pop("experiment"))
    first = f"{_NAMES.get(experiment, experiment)}, Dirichlet({own.pop('partition.alpha')})"
    return ", ".join([first, *(f"{name.rpartition('.')[2]}={value}" for name, value in own.items())])


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [float(f"{each:.5g}") if isinstance(each, float) else each for each in value]
    return value


def figures_of(directory: Path) -> dict[str, Any]:
    """Return the figures of a finished run, read from its ``history.jsonl`` and ``summary.json``.

    ``flips`` and ``flips_by_layer`` are those of the last round. ``gap`` (relative to the spread of the silos'
    outputs) and ``drift`` are lists over the rounds. All are None where the run had no diagnostics. ``minutes``
    counts the rounds of earlier starts too.
    """
    history = [json.loads(line) for line in (directory / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    accuracies = [line["accuracy"] for line in history]
    diagnostics = [found for line in history if (found := line.get("diagnostics"))]
    last = diagnostics[-1] if diagnostics else None
    return {
        "accuracies": accuracies,
        "test_accuracies": [line["test_accuracy"] for line in history],
        "mean": statistics.fmean(accuracies),
        "best": summary["best_accuracy"],
        "rounds_to_best": summary["rounds_to_best"],
        "last": accuracies[-1],
        "test_of_best": summary["test_accuracy"],
        "final_test": summary["final_accuracy"],
        "worst_silo": summary["silo_accuracy_worst"],
        "gap": [each["averaging"]["relative"] for each in diagnostics] or None,
        "drift": [each["drift"]["mean"] for each in diagnostics] or None,
        "flips": last and last["flip_rate"],
        "flips_by_layer": last and [[layer["layer"], layer["flip_rate"]] for layer in last["layers"]],
        "minutes": summary["wall_seconds"] / 60,
        "fingerprint": summary["fingerprint"],
        "weights_sha256": summary["weights_sha256"],
        "versions": summary["versions"],
    }


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return a Markdown table with a row for each arm and rate: means over seeds, std in brackets."""
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in lines:
        settings = {name: value for name, value in line["settings"].items() if name not in ("seed", "learning_rate")}
        arm = " ".join(f"{name}={value}" for name, value in settings.items())
        rows.setdefault((arm, str(line["settings"].get("learning_rate", ""))), []).append(line)
    head = f"| arm | {' | '.join(_COLUMNS)} |\n|{'---|' * (len(_COLUMNS) + 1)}"
    return "\n".join([head, *(f"| {arm} | {rate} | {_row(runs)} |" for (arm, rate), runs in rows.items())])


def _row(runs: list[Mapping[str, Any]]) -> str:
    done = [run for run in runs if "error" not in run]
    failed = f", {len(runs) - len(done)} failed" if len(done) < len(runs) else ""
    gaps = [statistics.fmean(gap) for run in done if (gap := [each for each in run["gap"] or () if each is not None])]
    named = [_mean([run[name] for run in done]) for name in ("mean", "best", "rounds_to_best", "last", "final_test")]
    return " | ".join([f"{len(done)}{failed}", *named, _mean(gaps), _mean([run["flips"] for run in done])])


def _mean(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = f" ({statistics.stdev(known):.3f})" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.3f}{spread}"
