"""Run as a program: the C++ kernels against pure torch, to the bit. A process cannot unload them again."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, Gates
from fedsq_flwr.gating.packed import native
from fedsq_flwr.gating.packed.bits import pack_bits
from tests.gating.gated_networks import BUILDERS, batch_for, build, perturb, same_bits

Numbers = dict[str, Tensor]
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def passes(network: nn.Module, channels_last: bool) -> Numbers:
    """Output, gates and gradients of a network that has moved away from its structure."""
    images, labels = batch_for(network)
    if channels_last:
        network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    dual = DualCopy(network)
    perturb(dual.quantitative)
    gates: Gates = dual.gates(images)
    logits = dual(images, gates)
    F.cross_entropy(logits, labels).backward()
    gradients = {name: p.grad for name, p in dual.named_parameters() if p.grad is not None}
    return {"gates": gates.rows, "logits": logits.detach(), **gradients}


def packings() -> Numbers:
    """Packed bits of all floating dtypes, and of numbers of activations that fill no word."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for dtype in FLOATS:
        for count in (1, 32, 45, 4096):
            activations = torch.randn(9, count, generator=generator).relu().to(dtype)
            activations[0, 0] = float("nan")
            found[f"{dtype} {count}"] = (
                torch.ops.fedsq_flwr.pack(activations) if native.is_loaded() else pack_bits(activations)
            )
    return found


def cases() -> dict[str, Callable[[], Numbers]]:
    """Everything that is compared."""
    found: dict[str, Callable[[], Numbers]] = {"packing": packings}
    for name in BUILDERS:
        found[name] = lambda name=name: passes(build(name), channels_last=False)
    for name in ("CIFAR ResNet-20", "pool: nn.MaxPool2d", "relu: in place on a part", "activation: all of them"):
        found[f"{name}, channels last"] = lambda name=name: passes(build(name), channels_last=True)
    return found


if __name__ == "__main__":
    torch.set_num_threads(2)
    pure = {name: case() for name, case in cases().items()}
    native.load(Path(sys.argv[1]))
    assert native.is_loaded()
    for name, case in cases().items():
        numbers = case()
        assert numbers.keys() == pure[name].keys(), name
        for what, value in numbers.items():
            assert same_bits(value, pure[name][what]), (name, what)
    sys.stdout.write(f"{len(pure)} cases equal to the bit\n")
