"""Backbones by name: the residual networks for small images, EfficientNet-Lite0, and networks of torchvision.

torchvision is imported when one of its networks is built, because the import takes a second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from fedsq_flwr.models.cifar_resnet import CifarResNet
from fedsq_flwr.models.efficientnet_lite import EfficientNetLite0


@dataclass(frozen=True)
class Backbone:
    """How a network is built, from (channels of the images, classes), and the name of its last layer.

    ``channels_last`` says whether a step of training on a CPU is faster with activations and weights in this format.
    The measurements are in decision record 0160; a network that was not measured has torch's own format.
    """

    build: Callable[[int, int], nn.Module]
    head: str
    channels_last: bool = False


def build_torchvision(name: str, in_channels: int, classes: int) -> nn.Module:
    """Build torchvision's network ``name`` with random weights.

    Parameters
    ----------
    name : str
        As in ``torchvision.models``.
    in_channels : int
        Must be 3.
    classes : int
        Size of the head.

    Raises
    ------
    ValueError
        If ``in_channels`` is not 3: the first layer of the published weights takes colour images.
    """
    if in_channels != 3:
        raise ValueError(f"in_channels={in_channels}: {name} takes images of 3 channels")
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if name == "googlenet":
        # One head. The input pipeline normalises the images, not the network.
        options = {"aux_logits": False, "transform_input": False, "init_weights": True}
    network: nn.Module = get_model(name, weights=None, num_classes=classes, **options)
    return network


def _cifar(blocks: int) -> Backbone:
    return Backbone(partial(CifarResNet, blocks), "fc", channels_last=True)


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
        "efficientnet_lite0": Backbone(EfficientNetLite0, "_fc"),
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
    # Seeds the CPU's generator alone: torch.manual_seed also reseeds every GPU's, and nothing restores those.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return BACKBONES[name].build(in_channels, classes)
