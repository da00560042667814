"""What a GPU makes of it, in one call of at most 8 minutes: correctness first, then rounds, then silos side by side.

Rows of gates and what they do to a tensor must equal the CPU's to the bit. Whole networks round differently: their
outputs are compared within a tolerance, and the gates that flip are counted. With `--device cpu --smoke` the same
logic runs on a CPU within seconds, on next to no images.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
import torchvision
from torch import Tensor, nn

from fedsq_flwr.gating import BoundGates, DualCopy, GateCache, QuantitativeCopy
from fedsq_flwr.gating.packed.calls import ActivationGate, PackedActivation, PackedPool
from fedsq_flwr.gating.packed.layout import ActivationLayout
from fedsq_flwr.learning import TrainingSettings, train_locally
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.models.cifar_resnet import CifarResNet

CLASSES = 10
SECONDS = 450.0  # nothing is begun after that


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    network: Callable[[], nn.Module]
    pixels: tuple[int, ...]
    silos: tuple[int, ...]
    images: int  # of a round, over all silos
    beside: tuple[int, ...]  # silos that train at once
    batch: int


FULL = Size(lambda: torchvision.models.resnet18(num_classes=CLASSES), (32, 64), (10, 100), 45_000, (1, 4, 10), 128)
SMOKE = Size(lambda: CifarResNet(1), (16,), (1, 2), 32, (1, 2), 8)


def run(_networks: Sequence[str], repeats: int, _native: bool, *, device: str = "cuda", smoke: bool = False) -> None:
    """Print the tables; raise AssertionError where the device is wrong."""
    size, where = SMOKE if smoke else FULL, choose_device(device)
    torch.manual_seed(0)
    network, ends = size.network(), time.monotonic() + SECONDS
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else str(where)
    print(f"{name}, torch {torch.__version__}\n\n| check | result |\n|---|---|")
    for check, result in correctness(network, size.pixels[0], where):
        print(f"| {check} | {result} |", flush=True)
    titles = ("pixels", "silos", "numbers", "FedAvg", "FedSQ, first", "later", "over FedAvg", "FedAvg again", "peak")
    print(f"\n| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for pixels in size.pixels:
        images = torch.randn(size.images, 3, pixels, pixels, device=where)
        labels = torch.randint(CLASSES, (size.images,), device=where)
        for silos in size.silos:
            for precision in ("float32", "bfloat16"):
                if time.monotonic() < ends:
                    settings = TrainingSettings(1, size.batch, learning_rate=1e-3, precision=precision)
                    columns = rounds(network, (images, labels), silos, settings, min(repeats, 2))
                    print(f"| {pixels} | {silos} | {precision} | {' | '.join(columns)} |", flush=True)
    print("\n| silos side by side | images a second |\n|---|---|")
    for beside in size.beside:
        if time.monotonic() < ends:
            print(f"| {beside} | {side_by_side(network, images, labels, beside, size):.0f} |", flush=True)


def correctness(network: nn.Module, pixels: int, device: torch.device) -> Iterator[tuple[str, str]]:
    """Compare the device with the CPU; yield each check and what was found."""
    host, there = DualCopy(network), DualCopy(network).to(device)
    images = torch.randn(16, 3, pixels, pixels)
    rows = host.gates(images)
    own = there.gates(images.to(device))
    for call in rows.calls():
        value, sent = torch.randn(call.shape), replace(call, packed=call.packed.to(device))
        expected, found = applied(call, value), applied(sent, value.to(device))
        assert all(torch.equal(a.cpu(), b) for a, b in zip(found, expected, strict=True)), f"gate of {call.layer}"
    yield "applied gates and winners, and their gradients, equal the CPU's to the bit", f"{len(rows.layout)} calls"
    for gate in host.calls(images)[0]:  # the same activations, packed on either
        if isinstance(gate, ActivationGate):
            layout = ActivationLayout.of(gate.source, None, gate.regimes)
            assert torch.equal(layout.pack(gate.source.to(device)).cpu(), layout.pack(gate.source)), gate.layer
    yield "rows packed from the same activations equal the CPU's to the bit", "all"
    flipped = sum(int((a != b.cpu()).sum()) for a, b in zip(rows.masks(), own.masks(), strict=True))
    yield "gates of the whole network that flip", f"{flipped:,} of {sum(mask.numel() for mask in rows.masks()):,}"
    expected, found = host(images, rows).detach(), there(images.to(device), rows).detach().cpu()
    distance = float((found - expected).abs().max() / expected.abs().max())
    assert distance < 1e-2, f"outputs of the whole network differ by {distance:.1e}"
    yield "outputs under the same rows, largest difference to the largest output", f"{distance:.1e}"


def applied(call: PackedActivation | PackedPool, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return a gated or pooled tensor and its gradient."""
    value.requires_grad_()
    output = call.apply(value, in_place=False) if isinstance(call, PackedActivation) else call.apply(value)
    (gradient,) = torch.autograd.grad(output.square().sum(), value)
    return output.detach(), gradient


def rounds(
    network: nn.Module, samples: tuple[Tensor, Tensor], silos: int, settings: TrainingSettings, repeats: int
) -> list[str]:
    """Return the columns of one line: seconds of rounds in which all silos train one after the other."""
    images, labels = samples
    device = images.device
    last = torch.channels_last if settings.precision == "bfloat16" else torch.contiguous_format
    dual = DualCopy(network).to(device).to(memory_format=last)  # type: ignore[call-overload]
    plain = QuantitativeCopy(nn.Identity())
    plain.quantitative = dual.quantitative
    gates, cache = [], GateCache(2**33, device_bytes=2**33)
    for number, part in enumerate(images.chunk(silos)):
        gates.append(cache.bind(dual, data=f"silo {number}", samples=len(part)))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def one_round(model: QuantitativeCopy, gates: Sequence[BoundGates | None]) -> float:
        started = time.perf_counter()
        start = {name: tensor.clone() for name, tensor in model.quantitative_state().items()}
        total = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
        for part, of_part, kept in zip(images.chunk(silos), labels.chunk(silos), gates, strict=True):
            model.load_quantitative_state(start)
            train_locally(model, part, of_part, settings, seed=0, gates=kept)
            for name, tensor in model.quantitative_state().items():
                total[name].add_(tensor, alpha=len(part) / len(images))
        model.load_quantitative_state(total)
        synchronise(device)
        return time.perf_counter() - started

    none = [None] * silos
    one_round(plain, none)  # what is done once
    first = one_round(dual, gates)
    taken = [(one_round(plain, none), one_round(dual, gates), one_round(plain, none)) for _ in range(repeats)]
    fedavg, later, again = (min(each) for each in zip(*taken, strict=True))
    peak = f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB" if device.type == "cuda" else "not told"
    seconds = [f"{value:.2f} s" for value in (fedavg, first, later)]
    return [*seconds, f"{later / fedavg:.2f}", f"{again / fedavg:.2f}", peak]


def side_by_side(network: nn.Module, images: Tensor, labels: Tensor, beside: int, size: Size) -> float:
    """Return the images a second of silos that train at once, each in a thread and a stream of its own."""
    device, count = images.device, max(2 * size.batch, len(images) // 10)
    settings = TrainingSettings(epochs=1, batch_size=size.batch, learning_rate=1e-3)
    models = [QuantitativeCopy(network).to(device) for _ in range(beside)]

    def train(model: QuantitativeCopy) -> None:
        with stream(device):
            train_locally(model, images[:count], labels[:count], settings, seed=0)

    with ThreadPoolExecutor(beside) as threads:
        list(threads.map(train, models))  # what is done once
        synchronise(device)
        started = time.perf_counter()
        list(threads.map(train, models))
        synchronise(device)
    return beside * min(count, len(images)) / (time.perf_counter() - started)


def stream(device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a new stream of a GPU; on a CPU there are none."""
    return torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
