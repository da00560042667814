"""Peak memory of a process that carries a round of ResNet-18 in it, by the number of silos: each in a new process."""

import logging
import multiprocessing
import resource
from collections.abc import Sequence

import torch
import torchvision

from scripts.benchmarks.engine import Case, ours

SILOS = (10, 100, 200)


def run(_networks: Sequence[str], _repeats: int, _native: bool) -> None:
    """Print the peak for each number of silos, which all train in the round, each on two images."""
    print("| silos of a round | peak of the process |\n|---|---|")
    context = multiprocessing.get_context("spawn")
    for count in SILOS:
        with context.Pool(1) as pool:
            print(f"| {count} | {pool.apply(peak, (count,)):.2f} GB |", flush=True)


def peak(silos: int) -> float:
    """Carry out two rounds, and return the peak of this process's memory in GB."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    case = Case(lambda: torchvision.models.resnet18(num_classes=10), 3, 32, silos, 2, silos)
    images, labels = torch.randn(silos, 2, 3, 32, 32), torch.zeros(silos, 2, dtype=torch.int64)
    one_round = ours(case, case.network(), images, labels)
    for _ in range(2):
        one_round()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux
