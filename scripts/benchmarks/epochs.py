"""Whole local epochs by the loop that silos run: the first, which fills the cache, and ten with it."""

import statistics
from collections.abc import Sequence
from functools import partial

from fedsq_flwr.gating import GateCache
from fedsq_flwr.learning import TrainingSettings, train_locally
from scripts.benchmarks.networks import BATCH, Arm, arms, build, samples
from scripts.benchmarks.tables import alternate, print_ratios, ratios

#: What is timed, its epochs, and its samples: ten epochs of more would take the better part of an hour.
TIMED = (("first epoch", 1, 4 * BATCH), ("ten epochs", 10, 2 * BATCH))


def run(networks: Sequence[str], repeats: int, with_native: bool) -> None:
    """Time the first epoch and ten, each beginning with an empty cache."""
    for title, epochs, count in TIMED:
        found = {}
        for name in networks:
            network = build(name)
            timed = {
                label: partial(train, arm, name, epochs, count) for label, arm in arms(network, with_native).items()
            }
            seconds = alternate(timed, repeats, warm_up=1)
            found[name] = (statistics.median(seconds["plain"]), {label: ratios(seconds, label) for label in timed})
        print_ratios(title, [label for label in next(iter(found.values()))[1] if label != "plain"], found)
        print(flush=True)


def train(arm: Arm, name: str, epochs: int, count: int) -> None:
    """Train for ``epochs`` from an empty cache."""
    images, labels = samples(name, count)
    settings = TrainingSettings(epochs=epochs, batch_size=BATCH, learning_rate=1e-4)
    if arm.cache is not None:
        arm.cache = GateCache(2**31)
    with arm.kernels():
        train_locally(arm.model, images, labels, settings, seed=0, gates=arm.gates(count))
