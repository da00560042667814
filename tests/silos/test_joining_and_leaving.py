"""Silos that come late, leave, hang or are killed; and Ctrl-C, after which nothing of a federation is left."""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from fedsq_flwr.executors.processes import is_alive
from fedsq_flwr.executors.superlink import LocalSuperLink
from fedsq_flwr.flower_internals import fleet
from fedsq_flwr.silos.keys import read_node_key
from fedsq_flwr.silos.link import Link
from tests.endtoend.conftest import SMALL, read_summary
from tests.silos import rogue
from tests.silos.federation import history
from tests.silos.processes import SILO, Process, wait_until

pytestmark = pytest.mark.slow


class Run:
    """`fedsq run` on a federation, in a process of its own."""

    def __init__(self, start: Callable[..., Process], output: Path, *overrides: str) -> None:
        self.output = output
        self.process = start("-m", "fedsq_flwr.cli", "run", *overrides, f"output='{output}'")

    def lines(self) -> list[dict]:
        return history(self.output)

    def finishes_round(self, number: int) -> dict:
        """Wait for the line of a round."""
        wait_until(
            lambda: len(self.lines()) >= number or not self.process.runs(), 120, f"round {number}: {self.lines()}"
        )
        assert len(self.lines()) >= number, self.process.complained()
        return self.lines()[number - 1]


@pytest.fixture
def run(federation, start, tmp_path: Path) -> Callable[..., Run]:
    def run(*overrides: str, name: str = "run") -> Run:
        return Run(start, tmp_path / name, *federation.run, *overrides)

    return run


@pytest.fixture
def silo(federation, start) -> Iterator[Callable[..., Process]]:
    """Start a silo; with a story, one that waits in some rounds.

    A silo that ended by force did not tell the SuperLink that it goes. The SuperLink is told when the test ends, so
    that a test after it can start the same silo, whatever became of this test.
    """
    started: list[tuple[int, Process]] = []

    def silo(number: int, *story: str, more: tuple[str, ...] = ()) -> Process:
        command = (rogue.__file__, ",".join(story)) if story else SILO
        started.append((number, start(*command, *federation.silos[number], *more)))
        return started[-1][1]

    yield silo
    for number, process in started:
        process.stop()
        if process.ends() != 0:
            tell_that_it_went(federation.superlink, federation.silos[number], process)


def lets_go(silo: Process, server_round: int) -> None:
    (silo.folder / f"go-{server_round}").touch()


def test_a_silo_may_join_after_the_first_round_and_another_may_leave_in_the_middle_of_one(run, silo) -> None:
    first, second = silo(0), silo(1, "honest", "wait", "honest", "wait")
    for early in (first, second):
        early.wait_for(" ready\n")
    given = ("min_available_silos=2", "min_replies=2", "executor.join_timeout=12", "executor.reply_grace=2")
    federation = run("rounds=5", *given)
    line = federation.finishes_round(1)
    assert (line["sampled"], line["replies"]) == (2, 2)

    second.wait_for("waiting for go-2\n")
    late = silo(2)
    late.wait_for(" ready\n")
    lets_go(second, 2)
    line = federation.finishes_round(3)
    assert (line["sampled"], line["replies"], line["dropped"]) == (3, 3, [])
    assert sorted(line["silo_accuracies"]) == ["0", "1", "2"]

    second.wait_for("waiting for go-4\n")
    second.send(signal.SIGTERM)
    assert second.ends() == 0
    line = federation.finishes_round(4)
    assert (line["sampled"], line["replies"]) == (3, 2)
    (dropped,) = line["dropped"]
    assert (dropped["silo"], dropped["while"]) == (1, "training")
    assert dropped["reason"] == "has left, or cannot be reached"
    line = federation.finishes_round(5)
    assert (line["sampled"], line["replies"], line["dropped"]) == (2, 2, [])
    assert federation.process.ends() == 0
    assert federation.process.complained() == ""
    assert (federation.output / "report.html").is_file()
    for process in (first, late):
        assert process.runs()


def test_a_round_goes_on_without_a_silo_that_hangs_and_one_that_is_stopped_and_the_first_comes_back(
    federation, run, silo
) -> None:
    stories = ["honest", "honest", "wait", "honest"], ["honest", "wait", "honest"], ["honest", "wait"]
    honest, hangs, dies = silos = [silo(number, *story) for number, story in enumerate(stories)]
    for process in silos:
        process.wait_for(" ready\n")
    going = run("rounds=4", "executor.reply_fraction=0.3", "executor.reply_grace=4")
    hangs.wait_for("waiting for go-2\n")
    dies.wait_for("waiting for go-2\n")
    dies.send(signal.SIGSTOP)
    line = going.finishes_round(2)
    assert (line["sampled"], line["replies"]) == (3, 1)
    assert set(line["waited"]) == {"1", "2"}
    assert all(3 < seconds < 30 for seconds in line["waited"].values())
    reasons = {(d["silo"], d["while"]): d["reason"] for d in line["dropped"]}
    for number in (1, 2):
        assert re.match(r"did not answer in time: left out after \d+ s; 1 of 3 had ", reasons[number, "training"])
        assert reasons[number, "evaluating"] == "was not asked: still at work on train, round 2"

    lets_go(hangs, 2)
    dies.send(signal.SIGKILL)
    late, log = "silo 1 answered train, round 2 too late", going.output / "flower.log"
    wait_until(lambda: late in log.read_text() or not going.process.runs(), 60, late)
    lets_go(honest, 3)  # round 3 does not end before the server has the late answer: round 4 asks this silo again
    assert going.process.ends() == 0
    last = going.finishes_round(4)
    assert last["replies"] == len(last["silo_accuracies"]) == 2  # late once, it takes part again
    for process in (honest, hangs):
        assert process.runs()
        assert "Traceback" not in process.said()


def tell_that_it_went(superlink: LocalSuperLink, words: list[str], silo: Process) -> None:
    """Tell the SuperLink, in the place of a silo that was killed, what it else finds out after a minute."""
    own = dict(word.split("=", 1) for word in words)
    if (node := re.search(r"\(node (\d+)\)", silo.said())) is None:
        return  # it never joined
    keys, roots = read_node_key(Path(own["private_key"])), own["root_certificates"]
    link = Link(superlink.address, keys=keys, root_certificates=roots)
    link._client.DeactivateNode(fleet.DeactivateNodeRequest(node_id=int(node[1])))
    link._client.close()


def test_a_silo_that_is_killed_late_in_its_round_goes_on_and_the_run_ends_with_the_same_weights(
    federation, run, silo
) -> None:
    steps, words = 250, federation.silos[1]
    kept = Path(dict(word.split("=", 1) for word in words)["state_dir"]) / "training" / "silo-1.pt"

    def starts() -> Process:
        process = silo(1, more=("checkpoint_minutes=0.001",))
        process.wait_for(" ready\n")
        return process

    def done() -> int:
        try:
            return torch.load(kept, weights_only=True)["steps"]
        except FileNotFoundError:
            return 0

    others, killed = [silo(0), silo(2)], starts()
    for other in others:
        other.wait_for(" ready\n")
    given = ("rounds=1", f"local_steps={steps}", "data.augmentation=flip", "executor.reply_grace=30")
    assert run(*given, name="whole").process.ends(120) == 0
    assert not kept.exists()
    interrupted = run(*given, name="interrupted")
    wait_until(lambda: done() >= 0.85 * steps, 120)
    killed.send(signal.SIGKILL)
    killed.ends()
    tell_that_it_went(federation.superlink, words, killed)
    again = starts()
    assert interrupted.process.ends(120) == 0
    found = re.search(r"training goes on after step (\d+)", again.said())
    assert 0.85 * steps <= int(found[1]) <= steps
    assert interrupted.lines()[0]["replies"] == 3
    whole, after = (read_summary(interrupted.output.parent / name) for name in ("whole", "interrupted"))
    assert whole["weights_sha256"] == after["weights_sha256"]
    assert not kept.exists()


def test_ctrl_c_on_a_rehearsal_ends_every_process_and_keeps_the_finished_rounds(start, tmp_path: Path) -> None:
    output, temporary = tmp_path / "run", tmp_path / "tmp"
    temporary.mkdir()
    rehearsal = start(
        "-m", "fedsq_flwr.cli", "rehearse", "2", *SMALL[3:], "rounds=500", f"output='{output}'", TMPDIR=str(temporary)
    )
    wait_until(lambda: len(history(output)) >= 2 or not rehearsal.runs(), 120, rehearsal.complained())
    below = psutil.Process(rehearsal.pid).children(recursive=True)
    words, homes, with_tokens = set(), set(), set()
    for process in below:
        with suppress(psutil.Error):  # a command that was short
            words |= set(process.cmdline())
            if "--token" in process.cmdline():
                with_tokens |= {Path(word).name for word in process.cmdline()[:2]}
            if (home := process.environ().get("FLWR_HOME")) is not None:  # the keeper has none
                homes.add(Path(home))
    assert {"silo", "run", "--enable-supernode-auth"} <= words
    (made,) = {Path(word).parent for word in words if word.endswith("/ca.crt")}  # for this rehearsal
    keys = [path for path in made.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    secrets = [
        line for key in keys for line in key.read_text().splitlines() if len(line) > 20 and "PRIVATE" not in line
    ]
    assert len(keys) == 4  # the authority's, the server's, and one for each silo
    assert not [word for word in words if any(secret in word for secret in secrets)]
    assert not with_tokens.intersection({"fedsq", "flwr", "flower-superlink"})  # Flower's own do, for its own

    rehearsal.send(signal.SIGINT)
    assert rehearsal.ends() == 130, rehearsal.complained()
    assert [process for process in below if is_alive(process)] == []
    assert homes
    assert not [home for home in homes if home.exists()]
    assert not made.exists()  # keys and certificates
    assert list(temporary.glob("fedsq-*")) == []
    assert "interrupted; finished rounds are kept" in rehearsal.complained()
    assert "Traceback" not in rehearsal.complained()
    finished = history(output)
    assert [line["round"] for line in finished] == list(range(1, len(finished) + 1))
    assert len(finished) >= 2
    assert (output / "checkpoints" / "last").is_dir()
    for number in range(2):
        log = (output / "silos" / f"silo-{number}" / "silo.log").read_text()
        assert log.splitlines()[-1].endswith("stopped: terminated")
        assert "Traceback" not in log
