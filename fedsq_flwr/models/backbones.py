"""Backbones by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import nn

from fedsq_flwr.models.cifar_resnet import CifarResNet
from fedsq_flwr.models.torchvision_networks import build_torchvision


@dataclass(frozen=True)
class Backbone:
    """How a network is built, from (channels of the images, classes), and what its last layer is called."""

    build: Callable[[int, int], nn.Module]
    head: str


def _cifar(blocks: int) -> Backbone:
    return Backbone(partial(CifarResNet, blocks), "fc")


def _torchvision(name: str, head: str) -> Backbone:
    return Backbone(partial(build_torchvision, name), head)


BACKBONES: Mapping[str, Backbone] = MappingProxyType(
    {
        "resnet20": _cifar(3),
        "resnet32": _cifar(5),
        "resnet44": _cifar(7),
        "resnet56": _cifar(9),
        **{name: _torchvision(name, "fc") for name in ("resnet18", "resnet34", "resnet50", "resnet101")},
        **{
            name: _torchvision(name, "classifier.6")
            for depth in (11, 13, 16, 19)
            for name in (f"vgg{depth}", f"vgg{depth}_bn")
        },
        "alexnet": _torchvision("alexnet", "classifier.6"),
        "squeezenet1_1": _torchvision("squeezenet1_1", "classifier.1"),
        "densenet121": _torchvision("densenet121", "classifier"),
        "googlenet": _torchvision("googlenet", "fc"),
    }
)


def build_backbone(name: str, *, in_channels: int, classes: int, seed: int) -> nn.Module:
    """Build the network ``name`` with random weights that depend on ``seed`` only.

    Raises
    ------
    KeyError
        If the name is not in `BACKBONES`.
    ValueError
        If the network does not take images of ``in_channels`` channels.
    """
    # The CPU's generator alone: torch.manual_seed would reseed every GPU's too, which nothing restores.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return BACKBONES[name].build(in_channels, classes)
