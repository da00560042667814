"""Training steps: the plain network, the naive dual copy, ours with kept gates and while keeping them."""

import statistics
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812

from fedsq_flwr.gating import GateCache
from scripts.benchmarks.networks import BATCH, Arm, arms, build, samples
from scripts.benchmarks.tables import alternate, print_ratios, ratios


def run(networks: Sequence[str], repeats: int, with_native: bool) -> None:
    """Time steps of all arms, and print the ratios and the bytes of an image's gates."""
    found, row_bytes = {}, {}
    for name in networks:
        network = build(name)
        timed = {}
        for label, arm in arms(network, with_native).items():
            timed[label] = step_of(arm, name)
            if arm.cache is not None:
                timed[f"{label}, filling"] = step_of(arm, name, filling=True)
        seconds = alternate(timed, repeats)
        found[name] = (statistics.median(seconds["plain"]), {label: ratios(seconds, label) for label in timed})
        images, _ = samples(name, BATCH)
        row_bytes[name] = arms(network, False)["ours"].model.gates(images).rows.shape[1]  # type: ignore[union-attr]
    print_ratios("training step", [label for label in next(iter(found.values()))[1] if label != "plain"], found)
    print("\nBytes of an image's gates: " + ", ".join(f"{name} {count:,}" for name, count in row_bytes.items()))


def step_of(arm: Arm, name: str, filling: bool = False) -> Callable[[], None]:
    """Return a training step of ``arm`` with SGD and momentum; ``filling`` makes it start from an empty cache."""
    images, labels = samples(name, BATCH)
    optimizer = torch.optim.SGD(arm.model.parameters(), 1e-4, momentum=0.9)
    order = torch.arange(BATCH)

    def step() -> None:
        if filling:
            arm.cache = GateCache(2**31)
        with arm.kernels():
            bound = gates[0] if gates and not filling else arm.gates(BATCH)
            gates[:] = [bound]
            arm.model.train()
            logits = arm.model(images) if bound is None else arm.model(images, bound.of(order, images))
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits, labels).backward()
            optimizer.step()

    gates: list[object] = []
    return step
