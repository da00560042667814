"""Training steps: the plain network, the naive dual copy, ours with cached gates."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812

from scripts.benchmarks.networks import BATCH, Arm, arms, build, samples
from scripts.benchmarks.tables import alternate, print_ratios, ratios


def run(networks: Sequence[str], repeats: int, with_native: bool, limit: float | None = None) -> None:
    """Time steps of all arms, and print the ratios and the bytes of an image's gates.

    With a ``limit``, the program ends with status 1 if a median ratio of ours to the plain network is above it.
    """
    found, row_bytes = {}, {}
    for name in networks:
        found_arms = arms(build(name), with_native)
        optimizer = sgd(found_arms["plain"])
        timed = {label: step_of(arm, name, optimizer) for label, arm in found_arms.items()}
        seconds = alternate(timed, repeats)
        found[name] = (statistics.median(seconds["plain"]), {label: ratios(seconds, label) for label in timed})
        images, _ = samples(name, BATCH)
        row_bytes[name] = found_arms["naive"].model.gates(images).rows.shape[1]  # type: ignore[operator]
    print_ratios("training step", [label for label in next(iter(found.values()))[1] if label != "plain"], found)
    print("\nBytes of an image's gates: " + ", ".join(f"{name} {count:,}" for name, count in row_bytes.items()))
    if limit is not None and (slow := too_slow({name: by_arm for name, (_, by_arm) in found.items()}, limit)):
        sys.exit(f"a training step is too slow: {'; '.join(slow)}")


def too_slow(found: Mapping[str, Mapping[str, Sequence[float]]], limit: float) -> list[str]:
    """Name the networks and arms of ours whose median ratio to the plain network is above ``limit``."""
    medians = {
        f"{arm} of {network}": statistics.median(values)
        for network, by_arm in found.items()
        for arm, values in by_arm.items()
        if arm.startswith("ours")
    }
    return [
        f"{name} takes {median:.2f}, the limit is {limit:g}" for name, median in medians.items() if median > limit
    ]


def sgd(arm: Arm) -> torch.optim.Optimizer:
    """Return the optimiser of all arms, with rates that leave the weights about as they are."""
    return torch.optim.SGD(arm.model.parameters(), 1e-5, momentum=0.9)


def step_of(arm: Arm, name: str, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """Return a training step of ``arm``."""
    images, labels = samples(name, BATCH)
    order, gates = torch.arange(BATCH), arm.gates(BATCH)

    def step() -> None:
        with arm.kernels():
            arm.model.train()
            logits = arm.model(images) if gates is None else arm.model(images, gates.of(order, images))
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits, labels).backward()
            optimizer.step()

    return step
