"""Evaluation of a set that was seen before."""

import statistics
from collections.abc import Callable, Sequence

from fedsq_flwr.learning import evaluate
from scripts.benchmarks.networks import Arm, arms, build, samples
from scripts.benchmarks.tables import alternate, print_ratios, ratios

SAMPLES = 128


def run(networks: Sequence[str], repeats: int, with_native: bool) -> None:
    """Time evaluations; the first one, which is not timed, fills the cache."""
    found = {}
    for name in networks:
        network = build(name)
        timed = {label: evaluation_of(arm, name) for label, arm in arms(network, with_native).items()}
        seconds = alternate(timed, repeats)
        found[name] = (statistics.median(seconds["plain"]), {label: ratios(seconds, label) for label in timed})
    print_ratios("evaluation", [label for label in next(iter(found.values()))[1] if label != "plain"], found)


def evaluation_of(arm: Arm, name: str) -> Callable[[], None]:
    """Return an evaluation of ``arm``."""
    images, labels = samples(name, SAMPLES)
    gates = arm.gates(SAMPLES)

    def once() -> None:
        with arm.kernels():
            evaluate(arm.model, images, labels, gates=gates)

    return once
