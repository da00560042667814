"""Whole rounds of the embedded experiment by method: ten silos in one process, one after the other.

Each repeat runs every method once, a federation of four rounds; methods take turns. The first round, in which gates
are computed, is told apart from the next two, in which kept ones are used; the last, which is evaluated
for the summary, is left out.
"""

import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fedsq_flwr.job import run_job
from fedsq_flwr.settings.composition import compose_settings
from scripts.benchmarks.tables import interval

METHODS = ("fedavg", "fedprox", "fedadam", "head_only", "fedsq", "fedsq_late_gates")
SETTINGS = ("executor=inprocess", "executor.workers=1", "rounds=4", "partition.alpha=0.5")
#: By round: seconds in all, and of them, of local training.
Rounds = list[tuple[float, float]]


def run(_networks: Sequence[str], repeats: int, _native: bool) -> None:
    """Time rounds by method and print a line for each, with paired ratios to FedAvg."""
    federation("fedavg")  # reads the data once and, where there are none, pretrains the weights
    found: dict[str, list[Rounds]] = {name: [] for name in METHODS}
    for repeat in range(repeats):
        first = repeat % len(METHODS)
        for name in METHODS[first:] + METHODS[:first]:
            found[name].append(federation(name))
    print(
        "| method | first round | to FedAvg | later rounds | of it training | to FedAvg |\n|---|---|---|---|---|---|"
    )
    for name, runs in found.items():
        print(f"| `{name}` | {' | '.join(columns(runs, found['fedavg']))} |", flush=True)


def columns(runs: Sequence[Rounds], baseline: Sequence[Rounds]) -> list[str]:
    """Return seconds of the first and of later rounds, median and span, each with the ratio to ``baseline``."""
    first, other_first = ([rounds[0][0] for rounds in each] for each in (runs, baseline))
    later, other_later = (
        [statistics.fmean(total for total, _ in rounds[1:3]) for rounds in each] for each in (runs, baseline)
    )
    training = statistics.median(statistics.fmean(train for _, train in rounds[1:3]) for rounds in runs)
    return [spread(first), ratio(first, other_first), spread(later), f"{training:.2f}", ratio(later, other_later)]


def spread(seconds: Sequence[float]) -> str:
    """Return median and span."""
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def ratio(seconds: Sequence[float], baseline: Sequence[float]) -> str:
    """Return the median of paired ratios and its interval."""
    return interval([ours / plain for ours, plain in zip(seconds, baseline, strict=True)])


def federation(name: str) -> Rounds:
    """Run one federation of the method; its progress goes to stderr."""
    overrides = [*SETTINGS, f"method={name}"]
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(sys.stderr):
        output = Path(work)
        run_job(compose_settings([*overrides, f"output={output}"]))
        lines = [json.loads(line) for line in (output / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(line["seconds"], line["train_seconds"]) for line in lines]
