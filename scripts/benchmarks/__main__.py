"""Time the dual copy against the plain network, side by side in one process."""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch

from fedsq_flwr.gating.packed import native
from scripts.benchmarks import (
    cluster,
    engine,
    epochs,
    evaluation,
    gpu,
    memory,
    population,
    ray_rounds,
    rounds,
    server_memory,
    silos,
    steps,
)
from scripts.benchmarks.networks import NETWORKS
from scripts.benchmarks.tables import machine

BENCHMARKS = {
    "steps": steps.run,
    "epochs": epochs.run,
    "evaluation": evaluation.run,
    "memory": memory.run,
    "rounds": rounds.run,
    "silos": silos.run,
    "engine": engine.run,
    "ray": ray_rounds.run,
    "population": population.run,
    "server_memory": server_memory.run,
    "cluster": cluster.run,
    "gpu": gpu.run,
}
#: Run only when they are named: they time rounds, not steps, and the first two take a quarter of an hour.
ON_REQUEST = ("rounds", "silos", "engine", "ray", "population", "server_memory", "cluster", "gpu")


def main() -> None:
    """Parse the arguments and run what they name."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "benchmarks",
        nargs="*",
        metavar="BENCHMARK",
        help=f"of {', '.join(BENCHMARKS)}; default all but {', '.join(ON_REQUEST)}",
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument("--repeats", type=int, default=11, help="alternating repeats (default 11)")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--native", action="store_true", help="also time the C++ kernels (compiled here first)")
    parser.add_argument("--limit", type=float, help="the benchmark steps fails if ours takes more, over plain")
    parser.add_argument("--device", default="cuda", help="of the benchmark gpu (default cuda)")
    parser.add_argument("--smoke", action="store_true", help="the benchmark gpu on next to no images")
    options = parser.parse_args()
    unknown = [name for name in options.benchmarks if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}: allowed are {', '.join(BENCHMARKS)}")
    torch.set_num_threads(options.threads)
    print(machine(options.threads, options.repeats))
    with tempfile.TemporaryDirectory() as build:
        if options.native:
            native.load(Path(build))
        for name in options.benchmarks or [name for name in BENCHMARKS if name not in ON_REQUEST]:
            print(f"\n## {name}\n", flush=True)
            benchmark = BENCHMARKS[name]
            if name == "steps":
                benchmark = partial(steps.run, limit=options.limit)
            if name == "gpu":
                benchmark = partial(gpu.run, device=options.device, smoke=options.smoke)
            benchmark(options.networks, options.repeats, native.is_loaded())


if __name__ == "__main__":
    main()
