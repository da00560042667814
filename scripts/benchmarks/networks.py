"""The networks that are timed, with images of the size that they are timed at, and their arms."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from unittest.mock import patch

import torch
import torchvision
from torch import Tensor, nn

from fedsq_flwr.gating import BoundGates, DualCopy, GateCache, QuantitativeCopy
from fedsq_flwr.gating.packed import native
from fedsq_flwr.models import build_backbone

CLASSES = 10
BATCH = 32


@dataclass(frozen=True)
class Timed:
    """A network and the pixels a side of its images."""

    build: Callable[[], nn.Module]
    size: int


def every_activation() -> nn.Module:
    """Build a network of nine convolutions, each with another kind of piecewise-linear activation behind it."""
    width = 64
    activations = (
        *(nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.1), nn.PReLU(width), nn.Hardtanh()),
        *(nn.Threshold(0.1, -0.2), nn.Hardsigmoid(), nn.Softshrink(0.1), nn.Hardshrink(0.1)),
    )
    layers: list[nn.Module] = []
    for place, activation in enumerate(activations):
        layers += [nn.Conv2d(width if place else 3, width, 3, padding=1), nn.BatchNorm2d(width), activation]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


NETWORKS = {
    "resnet18-32": Timed(lambda: torchvision.models.resnet18(num_classes=CLASSES), 32),
    "resnet18-64": Timed(lambda: torchvision.models.resnet18(num_classes=CLASSES), 64),
    "vgg11_bn-32": Timed(lambda: torchvision.models.vgg11_bn(num_classes=CLASSES), 32),
    "alexnet-64": Timed(lambda: torchvision.models.alexnet(num_classes=CLASSES), 64),
    "mobilenet_v2-32": Timed(lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES), 32),
    "mobilenet_v2-64": Timed(lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES), 64),
    "mnasnet1_0-64": Timed(lambda: torchvision.models.mnasnet1_0(num_classes=CLASSES), 64),
    "efficientnet_lite0-64": Timed(
        lambda: build_backbone("efficientnet_lite0", in_channels=3, classes=CLASSES, seed=0), 64
    ),
    "resnet20-32": Timed(lambda: build_backbone("resnet20", in_channels=3, classes=CLASSES, seed=0), 32),
    "every_activation-32": Timed(every_activation, 32),
}


def build(name: str) -> nn.Module:
    """Build a network with random weights, the same in every call."""
    torch.manual_seed(0)
    return NETWORKS[name].build()


def samples(name: str, count: int) -> tuple[Tensor, Tensor]:
    """Draw images and labels, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    size = NETWORKS[name].size
    images = torch.randn(count, 3, size, size, generator=generator)
    return images, torch.randint(CLASSES, (count,), generator=generator)


@dataclass
class Arm:
    """A way to train and evaluate: a model, cached gates if any, and the kernels it uses."""

    model: QuantitativeCopy
    cache: GateCache | None = None
    with_native: bool = False

    def gates(self, count: int) -> BoundGates | None:
        """Bind the gates of the benchmark's images."""
        if self.cache is None:
            return None
        assert isinstance(self.model, DualCopy)
        return self.cache.bind(self.model, data="benchmark", samples=count)

    def kernels(self) -> AbstractContextManager[object]:
        """Switch the C++ kernels off for arms that are timed without them."""
        if self.with_native or not native.is_loaded():
            return nullcontext()
        return patch.object(native, "is_loaded", lambda: False)


def arms(network: nn.Module, with_native: bool) -> dict[str, Arm]:
    """Return the arms: the plain network twice, for the noise; the naive dual copy; ours.

    All share the very same modules: where a large network happens to lie in memory alone makes ten percent.
    """
    dual = DualCopy(network)
    plain = QuantitativeCopy(nn.Identity())
    plain.quantitative = dual.quantitative
    found = {
        "plain": Arm(plain),
        "plain again": Arm(plain),
        "naive": Arm(dual),
        "ours": Arm(dual, GateCache(2**31)),
    }
    if with_native:
        found["ours, C++"] = Arm(dual, GateCache(2**31), with_native=True)
    return found
