"""Rounds of real silos on loopback, with TLS and keys: by Flower's own SuperNode, and by `fedsq silo`.

Two silos train a ResNet-18 (45 MB) at 32 pixels on the UCI digits, one epoch a round: median and span of the
rounds asked for, without the first, which holds what is done once, and the last, in which silos always evaluate.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from fedsq_flwr.commands.rehearse import rehearse
from fedsq_flwr.commands.shares import lay_out_data
from fedsq_flwr.executors.environment import command_path, isolated_environment
from fedsq_flwr.executors.flower_app import FEDSQ_APP, write_app, write_run_config
from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.superlink import LocalSuperLink, free_port
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.silos.certificates import issue_server_certificate, make_authority
from fedsq_flwr.silos.keys import make_node_key

SILOS = 2
TASK = (
    *("backbone=resnet18", "backbone.weights=random", "backbone.image_size=32", "learning_rate=0.01"),
    *("backbone.mean=[0.1307]", "backbone.std=[0.3081]", f"silos={SILOS}"),
)
Lines = list[dict[str, Any]]


def run(_networks: Sequence[str], repeats: int, _native: bool) -> None:
    """Time ``repeats`` rounds of each arm, with evaluation by the silos and without."""
    arms: dict[str, Callable[[list[str], Path], Lines]] = {
        "flower-supernode, as found": as_found,
        "flower-supernode, packed arrays": packed,
        "fedsq silo": ours,
        "fedsq silo, wire_dtype=bfloat16": lambda overrides, work: ours([*overrides, "wire_dtype=bfloat16"], work),
    }
    print("| round of training and evaluation, or training alone | seconds | train exchange | evaluate | server |")
    print("|---|---|---|---|---|")
    for evaluate_every in (1, repeats + 2):
        for name, arm in arms.items():
            rounds = [f"rounds={repeats + 2}", f"evaluate_every={evaluate_every}"]
            with tempfile.TemporaryDirectory() as work:
                lines = arm([*TASK, *rounds], Path(work))[1:-1]
            print(
                f"| {name}, {'both' if evaluate_every == 1 else 'training'} | {' | '.join(columns(lines))} |",
                flush=True,
            )


def columns(lines: Lines) -> list[str]:
    """Return median and span of a round's seconds, and the medians of its parts."""
    seconds = [line["seconds"] for line in lines]
    parts = [[line["exchange_seconds"].get(kind, 0.0) for line in lines] for kind in ("train", "evaluate")]
    server = [line["seconds"] - sum(line["exchange_seconds"].values()) for line in lines]
    spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"
    return [spread, *(f"{statistics.median(part):.1f}" for part in (*parts, server))]


def ours(overrides: list[str], work: Path) -> Lines:
    """Run the federation as `fedsq rehearse` does; what that prints is not part of the table."""
    with redirect_stdout(sys.stderr):
        rehearse(SILOS, [*overrides, f"output={work / 'run'}"])
    return history(work / "run")


def as_found(overrides: list[str], work: Path) -> Lines:
    """Run it by Flower's processes, arrays as they are, replies looked for as Flower does."""
    with supernodes(work, [f"partition-id={silo} num-partitions={SILOS}" for silo in range(SILOS)]) as link:
        return follow(link, work, overrides)


def packed(overrides: list[str], work: Path) -> Lines:
    """Run it by Flower's processes, with packed arrays, and replies looked for more often."""
    folders, data = lay_out_data(compose_settings(overrides), work / "data")
    identities = [
        f'partition-id={silo} num-partitions={SILOS} data-path="{folder}" state-dir="{work / "state" / str(silo)}"'
        for silo, folder in enumerate(folders)
    ]
    with supernodes(work, identities) as link:
        return follow(link, work, [*overrides, "executor.name=silos", *data])


@contextmanager
def supernodes(work: Path, node_configs: Sequence[str]) -> Iterator[LocalSuperLink]:
    """Start a SuperLink, and a `flower-supernode` with each of ``node_configs``."""
    make_authority(work / "keys")
    issue_server_certificate(work / "keys", ["localhost", "127.0.0.1"])
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with RunLog(work / "log") as log, LocalSuperLink(log, threads, certificates=work / "keys") as link:
        nodes = []
        for number, node_config in enumerate(node_configs):
            key = make_node_key(work / "keys" / str(number))
            link.register(key)
            command = [command_path("flower-supernode"), "--superlink", link.address, "--port", str(free_port())]
            command += ["--root-certificates", str(work / "keys" / "ca.crt"), "--node-config", node_config]
            command += ["--auth-supernode-private-key", str(key.with_suffix(""))]
            environment = isolated_environment(link.home, threads)
            nodes.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
            )
        try:
            yield link
        finally:
            for node in nodes:
                node.terminate()
                node.wait()


def follow(link: LocalSuperLink, work: Path, overrides: Sequence[str]) -> Lines:
    """Run the app on ``link`` and return its history."""
    write_app(work / "app", FEDSQ_APP)
    write_run_config(work / "run.toml", compose_settings([*overrides, f"output={work / 'run'}"]))
    link.run(work / "app", ("--run-config", str(work / "run.toml"))).wait()
    return history(work / "run")


def history(directory: Path) -> Lines:
    """Return the lines of a run's history."""
    return [json.loads(line) for line in (directory / "history.jsonl").read_text(encoding="utf-8").splitlines()]
