"""Backbones by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn

from fedsq_flwr.backbones.cifar_resnet import CifarResNet

#: name -> a function of (channels of the images, classes)
BACKBONES: Mapping[str, Callable[[int, int], nn.Module]] = MappingProxyType(
    {
        "resnet20": lambda in_channels, classes: CifarResNet(3, in_channels, classes),
        "resnet32": lambda in_channels, classes: CifarResNet(5, in_channels, classes),
    }
)


def build_backbone(name: str, *, in_channels: int, classes: int, seed: int) -> nn.Module:
    """Build the network ``name`` with random weights that depend on ``seed`` only.

    Raises
    ------
    KeyError
        If the name is not in `BACKBONES`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BACKBONES[name](in_channels, classes)
