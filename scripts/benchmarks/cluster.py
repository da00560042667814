"""Rounds on a Ray cluster of two nodes of one CPU, beside one node of two, all on this machine."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedsq_flwr.executors import processes
from fedsq_flwr.executors.environment import command_path, isolated_environment
from fedsq_flwr.executors.home import Home
from fedsq_flwr.executors.superlink import free_port

#: CPUs of each node.
CLUSTERS = {"one node of two CPUs": (2,), "two nodes of one CPU": (1, 1)}


def run(_networks: Sequence[str], repeats: int, _native: bool) -> None:
    """Print the seconds of ``repeats`` rounds of `digits`, without the first two and the last, and the weights."""
    print("| cluster | seconds a round | weights |\n|---|---|---|")
    for name, cpus in CLUSTERS.items():
        with tempfile.TemporaryDirectory() as work, nodes(cpus) as address:
            output = Path(work) / "run"
            words = ["experiment=digits", f"rounds={repeats + 3}", f"executor.ray_address={address}"]
            command = [sys.executable, "-m", "fedsq_flwr.cli", "run", *words, f"output={output}"]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            lines = (output / "history.jsonl").read_text(encoding="utf-8").splitlines()
            seconds = [json.loads(line)["seconds"] for line in lines][2:-1]
            weights = json.loads((output / "summary.json").read_text(encoding="utf-8"))["weights_sha256"]
        spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        print(f"| {name} | {spread} | {weights[:12]} |", flush=True)


@contextmanager
def nodes(cpus: Sequence[int]) -> Iterator[str]:
    """Start the nodes of a cluster and give its address; they end with the block."""
    address = f"127.0.0.1:{free_port()}"
    with Home("ray-") as home:
        head = f"--head --port {address.partition(':')[2]} --ray-client-server-port {free_port()}"
        head += f" --temp-dir {home.path} --include-dashboard false"
        try:
            for number, count in enumerate(cpus):
                options = head if number == 0 else f"--address {address}"
                command = [command_path("ray"), "start", "--num-cpus", str(count), *options.split()]
                subprocess.run(command, env=isolated_environment(home.path, {}), capture_output=True, check=True)
            yield address
        finally:
            known = processes.marked("FLWR_HOME", str(home.path))
            processes.end(lambda: processes.descendants(known))
