"""A long run stays flat: memory, open files and seconds a round, early and late.

Usage: python -m scripts.soak.rounds [--executor inprocess|simulation] [--rounds N] [OVERRIDE ...]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

SMALL = ("data.limit=400", "data.test_limit=100", "silos=5", "evaluate_every=10")


@dataclass
class Sample:
    """What all processes of a run held when a round was over, and the seconds since the round before."""

    megabytes: float
    files: int
    seconds: float


def watch(rounds: int, executor: str, overrides: list[str], output: Path) -> list[Sample]:
    """Run the federation in a process of its own and return a sample for each round.

    Raises
    ------
    subprocess.CalledProcessError
        If the run fails.
    """
    words = [f"executor={executor}", f"rounds={rounds}", f"output={output}", *SMALL, *overrides]
    command = [sys.executable, "-m", "fedsq_flwr.cli", "run", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    history, samples, before = output / "history.jsonl", [], time.monotonic()
    while process.poll() is None:
        done = len(history.read_text(encoding="utf-8").splitlines()) if history.exists() else 0
        if done > len(samples):
            now = time.monotonic()
            samples.append(sample(psutil.Process(process.pid), now - before))
            before = now
        time.sleep(0.05)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return samples


def sample(process: psutil.Process, seconds: float) -> Sample:
    """Return what a process and those below it hold now."""
    memory, files = 0, 0
    for each in (process, *process.children(recursive=True)):
        try:
            memory += each.memory_info().rss
            files += each.num_fds()
        except psutil.Error:  # it has ended
            continue
    return Sample(memory / 2**20, files, seconds)


def main() -> None:
    """Parse the arguments, run, and print the medians of the second and of the last quarter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executor", choices=("inprocess", "simulation"), default="inprocess")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("overrides", nargs="*")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        samples = watch(chosen.rounds, chosen.executor, chosen.overrides, Path(work) / "run")
    quarter = max(1, len(samples) // 4)
    parts = {"second quarter": samples[quarter : 2 * quarter], "last quarter": samples[-quarter:]}
    print(f"{chosen.executor}, {chosen.rounds} rounds\n\n| | MiB | open files | seconds a round |\n|---|---|---|---|")
    for name, part in parts.items():
        cells = [statistics.median(getattr(each, key) for each in part) for key in ("megabytes", "files", "seconds")]
        print(f"| {name} | {cells[0]:.0f} | {cells[1]:.0f} | {cells[2]:.2f} |")


if __name__ == "__main__":
    main()
