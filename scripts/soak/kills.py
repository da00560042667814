"""Runs that are killed at random, and resumed until they end: with an undisturbed run's numbers, leaving nothing.

Usage: ``python -m scripts.soak.kills [--count N] [--ray N] [--points N] [--seconds S] [--seed N]``. Of N kills some
are of runs on Ray, and some at instrumented points, between any two changes of the run's directory; all others come
at random times in one process. A killed run is resumed at once, or when all that it has left is gone; that must be
within 60 s, its temporary folder included.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fedsq_flwr.executors import processes
from scripts.soak.kill_points import DIED

HERE = Path(__file__).parents[2]
METHODS = (
    *("fedsq", "fedavg", "fedprox", "fedadam"),
    *("fedsq_late_gates", "fedsq_refreshed method.refresh_every=2", "fedmedian", "fedavgm"),
)
SMALL = (
    *("rounds=4", "silos=2", "data.limit=160", "data.test_limit=40", "partition.alpha=5", "executor.threads=1"),
    *("backbone.weights=random", "backbone.image_size=8", "learning_rate=0.02", "seed=5"),
)
_INPROCESS = ("executor=inprocess", "executor.workers=1")
#: Seconds within which nothing may be left of what was killed.
GONE = 60.0
_MARK = "FEDSQ_SOAK"
_MOST_POINTS = 90
_AT_A_POINT = "import sys; from scripts.soak.kill_points import die_before; from pathlib import Path; "
_AT_A_POINT += (
    "die_before(int(sys.argv.pop(1)), Path(sys.argv.pop(1))); from fedsq_flwr.cli import main; sys.exit(main())"
)


@dataclass
class Soak:
    """What is killed next, by whom it is compared, and what was found."""

    draw: random.Random
    work: Path
    temporary: Path
    expected: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    longest: float = 0.0
    launches: int = 0
    pending: list[tuple[str, set[psutil.Process], str, float]] = field(default_factory=list)

    def reference(self, method: str) -> None:
        """Run a method undisturbed, once."""
        if method not in self.expected:
            output, begun = self.work / f"whole-{len(self.expected)}", time.monotonic()
            process, _ = self.start([*_INPROCESS, *words_of(method, output)])
            if process.wait() != 0:
                raise RuntimeError(f"{method}: an undisturbed run failed, see {self.work}/log")
            self.expected[method], self.seconds[method] = numbers(output), time.monotonic() - begun

    def start(self, words: Sequence[str], before: Sequence[str] = ()) -> tuple[subprocess.Popen[bytes], str]:
        """Start `fedsq run`; return its process and the mark that all processes below it have."""
        self.launches += 1
        mark = f"{os.getpid()}-{self.launches}"
        environment = {**os.environ, _MARK: mark, "TMPDIR": str(self.temporary), "PYTHONPATH": str(HERE)}
        program = before or ("-m", "fedsq_flwr.cli")
        with (self.work / "log").open("ab") as log:
            command = [sys.executable, *program, "run", *words]
            process = subprocess.Popen(command, env=environment, cwd=HERE, stdout=log, stderr=log)
        return process, mark

    def kill(self, kind: str, method: str, output: Path, *, resume: bool) -> bool:
        """Start a run and kill it; tell whether it was killed before it had ended."""
        words = [*words_of(method, output), *(("resume=true",) if resume else ())]
        seconds = self.seconds[method]
        if kind == "point":
            output.mkdir(exist_ok=True)
            point = str(self.draw.randrange(1, _MOST_POINTS))
            process, _ = self.start([*_INPROCESS, *words], ["-c", _AT_A_POINT, point, str(output)])
            status = process.wait()
            if status not in (0, DIED):
                self.faults.append(f"{method}, at point {point}: ended with status {status}")
            return status == DIED
        inprocess = kind == "process"
        process, mark = self.start([*(_INPROCESS if inprocess else ()), *words])
        after = self.draw.uniform(0.5, seconds if inprocess else seconds + 30.0)
        deadline = time.monotonic() + after
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        below = processes.descendants([psutil.Process(process.pid)]) if process.poll() is None else set()
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        if not killed and process.returncode != 0:
            self.faults.append(f"{method} ({kind}): ended with status {process.returncode}, and was not killed")
        if self.draw.random() < 0.5:
            self.wait_until_gone(f"{method} ({kind}), killed after {after:.1f} s", below, mark)
        else:  # looked at when the next one has ended
            self.pending.append((f"{method} ({kind}), killed after {after:.1f} s", below, mark, time.monotonic()))
        return killed

    def wait_until_gone(self, what: str, below: set[psutil.Process], mark: str, since: float | None = None) -> None:
        """Wait until all that a killed run has left is gone."""
        begun = time.monotonic() if since is None else since
        while left := {each for each in below | processes.marked(_MARK, mark) if processes.is_alive(each)}:
            if time.monotonic() - begun > GONE:
                self.faults.append(f"{what}: left {[' '.join(each.cmdline())[:80] for each in left]}")
                return
            time.sleep(0.1)
        if since is None:
            self.longest = max(self.longest, time.monotonic() - begun)

    def finish(self, method: str, output: Path, kind: str) -> None:
        """Resume a run until it ends; compare its numbers, and look for what is left."""
        executor = () if kind == "ray" else _INPROCESS
        process, mark = self.start([*executor, *words_of(method, output), "resume=true"])
        if process.wait() != 0:
            self.faults.append(f"{method} ({kind}): resumed, it ended with status {process.returncode}")
        elif numbers(output) != self.expected[method]:
            self.faults.append(f"{method} ({kind}): other numbers than undisturbed, in {output}")
        self.wait_until_gone(f"{method} ({kind}), at its end", set(), mark)
        for what, below, mark_of, since in self.pending:
            self.wait_until_gone(what, below, mark_of, since)
        self.pending.clear()
        left = [path.name for path in self.temporary.glob("fedsq-*")]
        if left:
            self.faults.append(f"{method} ({kind}): left the temporary folders {left}")
            shutil.rmtree(self.temporary, ignore_errors=True)
            self.temporary.mkdir(exist_ok=True)


def words_of(method: str, output: Path) -> list[str]:
    """Return the overrides of a run."""
    return [*SMALL, *f"method={method}".split(), f"output={output}"]


def numbers(output: Path) -> Any:
    """Return what must be equal: all but clocks, and bytes (a silo is handed a late structure again)."""
    lines = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    summary = json.loads((output / "summary.json").read_text())
    apart = ("seconds", "bytes")
    kept = ("weights_sha256", "best_accuracy", "rounds_to_best", "accuracy_auc", "test_accuracy", "final_accuracy")
    return [
        [{key: value for key, value in line.items() if not any(word in key for word in apart)} for line in lines],
        {key: summary[key] for key in kept},
    ]


def main() -> int:
    """Kill, resume and compare; print a line a run, then the faults."""
    parser = argparse.ArgumentParser(prog="soak.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=40, help="kills, those on Ray and at points included")
    parser.add_argument("--ray", type=int, default=10, help="kills of runs on Ray")
    parser.add_argument("--points", type=int, default=10, help="kills at instrumented points")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after so many seconds")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    wanted = {"ray": chosen.ray, "point": chosen.points, "process": chosen.count - chosen.ray - chosen.points}
    print(f"seed {chosen.seed}, kills {wanted}", flush=True)
    temporary = Path(tempfile.mkdtemp(prefix="fs-", dir="/tmp"))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-kills-") as made:
        soak = Soak(random.Random(chosen.seed), Path(made), temporary)
        number = 0
        for kind, count in wanted.items():
            killed = 0
            while killed < count and time.monotonic() - begun < chosen.seconds:
                number += 1
                method, output = METHODS[number % len(METHODS)], soak.work / f"run-{number}"
                soak.reference(method)
                died = soak.kill(kind, method, output, resume=False)
                kills = int(died)
                while died and killed + kills < count and soak.draw.random() < 0.5:
                    died = soak.kill(kind, method, output, resume=True)
                    kills += died
                soak.finish(method, output, kind)
                killed += kills
                print(f"{kind} {method}: killed {kills} times; {len(soak.faults)} faults", flush=True)
        if soak.faults:
            shutil.copytree(soak.work, kept := Path(tempfile.mkdtemp(prefix="soak-kept-")), dirs_exist_ok=True)
            print(f"the runs are in {kept}")
    shutil.rmtree(temporary, ignore_errors=True)
    print("\n".join(soak.faults))
    print(f"{len(soak.faults)} faults; after a kill all was gone within {soak.longest:.1f} s")
    return bool(soak.faults)


if __name__ == "__main__":
    sys.exit(main())
