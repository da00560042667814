"""Real silos over TLS under random trouble: ``python -m scripts.soak.silos --seconds 300 --seed 0``.

Three silos train in one run. Silos are stopped and go on (SIGSTOP), are killed (SIGKILL) or told to leave (SIGTERM)
and are started again; the run is interrupted, or its server app is killed, and is resumed. At the end, each
round must be in the history once, with a finite loss and a reason for each reply that was not used, and no silo's log
may hold a traceback. The status is 0 if all of this holds.
"""

import argparse
import math
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.superlink import LocalSuperLink
from fedsq_flwr.silos.certificates import issue_server_certificate, make_authority
from tests.silos.federation import SILOS, Federation, history, make_federation
from tests.silos.processes import SILO, Process

POLICIES = ("rounds=100000", "min_available_silos=1", "executor.reply_grace=5", "executor.join_timeout=30")
RESTART_SECONDS = 10
#: What the history may say of a reply that was not used.
REASONS = (
    "did not answer in time",
    "was not asked: still at work on ",
    "has left, or cannot be reached",
    "refuses: the server's structural fingerprint",
)


class Soak:
    """A federation in trouble.

    Parameters
    ----------
    federation : Federation
        Three silos that the SuperLink knows.
    root : Path
        For the logs and the run.
    seed : int
        Of the trouble.
    """

    def __init__(self, federation: Federation, root: Path, seed: int) -> None:
        self.federation, self.root = federation, root
        self.random = random.Random(seed)
        self.events: Counter[str] = Counter()
        self.started = 0
        self.output = root / "run"
        self.silos = [self.silo(number) for number in range(SILOS)]
        self.back: dict[int, tuple[float, Callable[[], None]]] = {}  # silos in trouble: when it ends, and how
        for silo in self.silos:
            silo.wait_for(" ready\n", 120)
        self.run = self.server()

    def start(self, *words: str) -> Process:
        """Start a process of Python."""
        self.started += 1
        return Process(self.root / f"process-{self.started}", *words)

    def silo(self, number: int) -> Process:
        """Start a silo."""
        return self.start(*SILO, *self.federation.silos[number])

    def server(self) -> Process:
        """Start the run, or resume it."""
        resume = "resume=true" if history(self.output) else "resume=false"
        words = [*self.federation.run, *POLICIES, resume, f"output='{self.output}'"]
        return self.start("-m", "fedsq_flwr.cli", "run", *words)

    def trouble(self) -> None:
        """Do one thing, unless all silos but one are in trouble."""
        kinds = [self.stop_silo, self.kill_silo, self.dismiss_silo] * 3 + [self.interrupt_run, self.kill_server_app]
        kind = self.random.choice(kinds)
        well = [number for number in range(SILOS) if number not in self.back]
        if kind in (self.interrupt_run, self.kill_server_app):
            if len(history(self.output)) < 2 or not self.run.runs():
                return
        elif len(well) < 2:
            return
        self.events[kind.__name__] += 1
        print(f"{time.strftime('%X')} {kind.__name__}, after round {len(history(self.output))}", flush=True)
        kind()

    def stop_silo(self) -> None:
        """Stop a silo, which goes on later and knows of nothing."""
        number = self.victim()
        self.silos[number].send(signal.SIGSTOP)
        self.later(number, lambda: self.silos[number].send(signal.SIGCONT), self.random.uniform(1, 40))

    def kill_silo(self) -> None:
        """Kill a silo, and start it again later."""
        number = self.victim()
        self.silos[number].send(signal.SIGKILL)
        self.silos[number].ends()
        self.later(number, lambda: self.start_again(number), self.random.uniform(0, 20))

    def dismiss_silo(self) -> None:
        """Tell a silo to leave, and start it again later."""
        number = self.victim()
        self.silos[number].send(signal.SIGTERM)
        self.later(number, lambda: self.start_again(number), self.random.uniform(5, 20))

    def interrupt_run(self) -> None:
        """Interrupt the run, as Ctrl-C does."""
        self.run.send(signal.SIGINT)
        self.run.ends(120)

    def kill_server_app(self) -> None:
        """Kill the process of the rounds."""
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # gone meanwhile
                if "flwr-serverapp" in " ".join(process.cmdline()[:2]):
                    process.kill()

    def victim(self) -> int:
        """Choose a silo that is not in trouble."""
        return self.random.choice([number for number in range(SILOS) if number not in self.back])

    def later(self, number: int, end: Callable[[], None], seconds: float) -> None:
        """Have the trouble of a silo end."""
        self.back[number] = time.monotonic() + seconds, end

    def start_again(self, number: int) -> None:
        """Start a silo in the place of the one that was."""
        self.silos[number].stop()
        self.silos[number] = self.silo(number)

    def step(self, now: float) -> None:
        """End the trouble that is over, and start what has ended."""
        for number, (at, end) in list(self.back.items()):
            if at <= now:
                del self.back[number]
                end()
        for number in range(SILOS):  # as a service does: a silo is refused while its old self counts as connected
            if number not in self.back and not self.silos[number].runs():
                self.events["silo was refused"] += 1
                self.later(number, partial(self.start_again, number), RESTART_SECONDS)
        if not self.run.runs():
            self.events["run started again"] += 1
            self.run = self.server()

    def stop(self) -> None:
        """End everything."""
        for _, end in self.back.values():
            end()
        if self.run.runs():
            self.run.send(signal.SIGINT)
            self.run.ends(120)
        for silo in self.silos:
            silo.stop()

    def faults(self) -> list[str]:
        """Return what is not as it should be."""
        lines, faults = history(self.output), []
        rounds = [line["round"] for line in lines]
        if rounds != list(range(1, len(rounds) + 1)):
            faults.append(f"rounds are not each there once: {rounds}")
        for line in lines:
            if not math.isfinite(line["loss"]) or line["replies"] < 1:
                faults.append(f"round {line['round']}: loss {line['loss']}, {line['replies']} replies")
            faults += [
                f"round {line['round']}: {each['reason']}"
                for each in line["dropped"]
                if not each["reason"].startswith(REASONS)
            ]
        for folder in sorted(self.root.glob("process-*")):
            if "Traceback" in (folder / "stdout").read_text() + (folder / "stderr").read_text():
                faults.append(f"{folder}: a traceback")
        return faults


def main() -> int:
    """Cause trouble for so long, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    print(f"seed {told.seed}, {told.seconds:g} s", flush=True)
    root = Path(tempfile.mkdtemp(prefix="fedsq-soak-"))
    authority = make_authority(root / "pki").parent
    issue_server_certificate(authority, ["localhost", "127.0.0.1"])
    with RunLog(root / "superlink.log") as log, LocalSuperLink(log, {}, certificates=authority) as superlink:
        soak = Soak(make_federation(superlink, authority, root / "federation"), root, told.seed)
        end, pause = time.monotonic() + told.seconds, 0.0
        try:
            while (now := time.monotonic()) < end:
                soak.step(now)
                if now > pause:
                    soak.trouble()
                    pause = time.monotonic() + soak.random.uniform(5, 25)
                time.sleep(0.2)
        finally:
            soak.stop()
    lines, faults = history(soak.output), soak.faults()
    reasons = Counter(re.sub(r"\d+", "N", each["reason"]) for line in lines for each in line["dropped"])
    slowest = max((line["seconds"] for line in lines), default=0.0)
    print(f"{len(lines)} rounds, the slowest {slowest:.0f} s; {dict(soak.events)}")
    for reason, count in reasons.most_common():
        print(f"  {count} x {reason}")
    left = psutil.Process().children(recursive=True)
    faults += [f"left running: {process}" for process in left]
    print("\n".join(faults) or "nothing wrong", f"({root})")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
