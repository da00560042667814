"""The backbones of the field, with random weights, for the proofs: how they are built and what they must show."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import nn

from fedsq_flwr.models.cifar_resnet import CifarResNet
from fedsq_flwr.models.efficientnet_lite import EfficientNetLite0
from tests.gating.gated_networks import BUILDERS, CLASSES


@dataclass(frozen=True)
class Backbone:
    """A network, the images it takes, and how many gates it has.

    Attributes
    ----------
    build : callable
        Makes the network with random weights.
    relus, pools : int
        Activation and max-pooling calls of a forward pass, counted by hand in the architecture's description.
    size : int
        Height and width of the images.
    every_statement : bool
        Whether every statement is tested, or, where a relative shows the rest, just the first three.
    large : bool
        Whether it is left to the slow tests.
    """

    build: Callable[[], nn.Module]
    relus: int
    pools: int
    size: int = 32
    every_statement: bool = False
    large: bool = False


def torchvision_model(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **options)


def narrow(name: str, **options: object) -> Callable[[], nn.Module]:
    """A VGG or AlexNet with 64 instead of 4,096 units in its hidden linear layers, which would take most time."""

    def build() -> nn.Module:
        with torch.device("meta"):
            network = torchvision_model(name, **options)()
            linear = [(place, m) for place, m in enumerate(network.classifier) if isinstance(m, nn.Linear)]
            widths = [linear[0][1].in_features, 64, 64, CLASSES]
            for (place, _), inputs, outputs in zip(linear, widths[:-1], widths[1:], strict=True):
                network.classifier[place] = nn.Linear(inputs, outputs)
        network.to_empty(device="cpu")
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                module.reset_parameters()
        return network

    return build


def cifar_resnet(blocks: int, **more: bool) -> Backbone:
    """ResNet of depth 6 * blocks + 2: a ReLU after the stem and two in each of 3 * blocks blocks."""
    return Backbone(lambda: CifarResNet(blocks, 3, CLASSES), relus=6 * blocks + 1, pools=0, size=16, **more)


def resnet(name: str, relus: int, **more: bool) -> Backbone:
    return Backbone(torchvision_model(name), relus=1 + relus, pools=1, **more)


def vgg(name: str, convolutions: int, **more: bool) -> Backbone:
    return Backbone(narrow(name, init_weights=False), relus=convolutions + 2, pools=5, **more)


def squeezenet(name: str, **more: bool) -> Backbone:
    """A ReLU after the stem, three in each of eight modules, and one after the head, which is a convolution."""
    return Backbone(torchvision_model(name), relus=1 + 3 * 8 + 1, pools=3, **more)


def every_activation() -> nn.Module:
    """A small network with each kind of piecewise-linear activation and a max-pooling."""
    return nn.Sequential(nn.Conv2d(3, 2, 1), BUILDERS["activation: all of them"]())


#: By the names that a run would use, whether or not a run can name them.
BACKBONES: dict[str, Backbone] = {
    "resnet20": cifar_resnet(3, every_statement=True),
    "resnet32": cifar_resnet(5),
    "resnet44": cifar_resnet(7),
    "resnet56": cifar_resnet(9),
    "resnet18": resnet("resnet18", 2 * 8, every_statement=True),
    "resnet34": resnet("resnet34", 2 * 16),
    "resnet50": resnet("resnet50", 3 * 16),
    "resnet101": resnet("resnet101", 3 * 33, large=True),
    "vgg11": vgg("vgg11", 8, every_statement=True),
    "vgg11_bn": vgg("vgg11_bn", 8),
    "vgg13": vgg("vgg13", 10),
    "vgg13_bn": vgg("vgg13_bn", 10, every_statement=True),
    "vgg16": vgg("vgg16", 13),
    "vgg16_bn": vgg("vgg16_bn", 13),
    "vgg19": vgg("vgg19", 16, large=True),
    "vgg19_bn": vgg("vgg19_bn", 16, large=True),
    "alexnet": Backbone(narrow("alexnet"), relus=5 + 2, pools=3, size=63, every_statement=True),
    "squeezenet1_0": squeezenet("squeezenet1_0", every_statement=True),
    "squeezenet1_1": squeezenet("squeezenet1_1"),
    "mobilenet_v2": Backbone(  # stem, first block, two in each of 16 blocks, the end
        torchvision_model("mobilenet_v2", width_mult=0.25), relus=1 + 1 + 2 * 16 + 1, pools=0, every_statement=True
    ),
    "mnasnet0_5": Backbone(  # two in the stem and in each of 16 blocks, the end
        torchvision_model("mnasnet0_5"), relus=2 + 2 * 16 + 1, pools=0, every_statement=True
    ),
    "efficientnet_lite0": Backbone(  # the stem, one in the first block, two in each of 15, the end
        lambda: EfficientNetLite0(3, CLASSES), relus=1 + 1 + 2 * 15 + 1, pools=0, every_statement=True
    ),
    "every activation": Backbone(every_activation, relus=8 + 4 + 1 + 1, pools=1, size=8, every_statement=True),
    "googlenet": Backbone(  # a stem of three, and nine modules of six ReLUs and a pooling
        torchvision_model("googlenet", aux_logits=False, init_weights=False),
        relus=3 + 6 * 9,
        pools=4 + 9,
        every_statement=True,
    ),
    "densenet121": Backbone(  # the stem, two in each of 58 layers, three transitions, the end
        torchvision_model("densenet121"),
        relus=1 + 2 * 58 + 3 + 1,
        pools=1,
        every_statement=True,
        large=True,
    ),
}
