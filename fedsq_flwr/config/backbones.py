"""What the settings of a backbone must respect, known without loading torch; tests hold it to the networks."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fedsq_flwr.config.schema import BackboneConfig


@dataclass(frozen=True)
class Network:
    """Facts about a network.

    Attributes
    ----------
    torchvision : bool
        It is torchvision's: it takes three channels, and has published weights.
    smallest : int
        Fewest pixels a side.
    dropout : bool
        It has active dropout in training.
    linear_head : bool
        Its last layer can be replaced by a new one.
    """

    torchvision: bool = True
    smallest: int = 1
    dropout: bool = False
    linear_head: bool = True


#: Networks by their name in ``backbone.name``.
NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        **{f"resnet{depth}": Network(torchvision=False) for depth in (20, 32, 44, 56)},
        **{f"resnet{depth}": Network() for depth in (18, 34, 50, 101)},
        **{
            f"vgg{depth}{form}": Network(smallest=32, dropout=True)
            for depth in (11, 13, 16, 19)
            for form in ("", "_bn")
        },
        "alexnet": Network(smallest=63, dropout=True),
        "squeezenet1_1": Network(smallest=17, dropout=True, linear_head=False),
        "densenet121": Network(smallest=29),
        "googlenet": Network(smallest=15, dropout=True),
    }
)

_SUFFIXES = (".safetensors", ".pth", ".pt")
_HUB = re.compile(r"hf:[\w.-]+/[\w.-]+(/[^@]+)?(@[^@]+)?")
_TORCHVISION = re.compile(r"[A-Z][A-Z0-9_]*")


def is_path(weights: str) -> bool:
    """Tell whether ``backbone.weights`` names a local file."""
    return Path(weights).suffix in _SUFFIXES and not weights.startswith("hf:")


def is_anywhere(weights: str) -> bool:
    """Tell whether ``backbone.weights`` means the same on every machine: no file or directory of this one."""
    return weights in ("mnist", "random") or any(form.fullmatch(weights) for form in (_HUB, _TORCHVISION))


def is_run(weights: str) -> bool:
    """Tell whether ``backbone.weights`` names a directory that is there: a run's, or a checkpoint in it."""
    return not weights.startswith("hf:") and Path(weights).expanduser().is_dir()


def complaints(backbone: BackboneConfig) -> Iterator[tuple[str, str]]:
    """Yield each setting of ``backbone`` that does not fit the others, with what is allowed."""
    network = NETWORKS[backbone.name]
    if network.torchvision and backbone.in_channels != 3:
        yield "in_channels", f"must be 3 for {backbone.name}"
    if backbone.image_size < network.smallest:
        yield "image_size", f"must be at least {network.smallest} for {backbone.name}"
    yield from _about_weights(backbone, network)
    if backbone.head != "keep" and not network.linear_head:
        yield "head", f"must be keep for {backbone.name}, whose last layer is a convolution"
    if backbone.head == "keep" and network.linear_head and backbone.weights == "random":
        yield "head", "keep needs pretrained weights"
    yield from _about_pixels(backbone)


def _about_weights(backbone: BackboneConfig, network: Network) -> Iterator[tuple[str, str]]:
    weights = backbone.weights
    if weights in ("mnist", "random"):
        return
    if is_path(weights):
        if not Path(weights).expanduser().is_file():
            yield "weights", "there is no such file"
    elif is_run(weights):
        return
    elif _TORCHVISION.fullmatch(weights):
        if not network.torchvision:
            yield "weights", f"torchvision has no weights for {backbone.name}"
    elif not _HUB.fullmatch(weights):
        missing = "there is no such directory; " if "/" in weights and not weights.startswith("hf:") else ""
        yield (
            "weights",
            f"{missing}allowed are mnist, random, torchvision's names (IMAGENET1K_V1), a "
            f"{', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]} file, a run's directory, or "
            "hf:owner/name[/file][@revision]",
        )


def _about_pixels(backbone: BackboneConfig) -> Iterator[tuple[str, str]]:
    for name, values in (("mean", backbone.mean), ("deviation", backbone.deviation)):
        if values is None:
            if backbone.mean is not None or backbone.deviation is not None:
                yield name, "backbone.mean and backbone.deviation must be given together"
        elif len(values) not in (1, backbone.in_channels):
            yield name, f"must have one value, or one for each of the {backbone.in_channels} channels"
        elif not all(math.isfinite(value) for value in values):
            yield name, "must be finite"
        elif name == "deviation" and min(values) <= 0:
            yield name, "must be above 0"
