"""``backbone``: the pretrained network that both copies start from, and facts of the networks that need no torch."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from fedsq_flwr.settings.base import Settings, Several, Text
from fedsq_flwr.settings.fields import Fact
from fedsq_flwr.settings.paths import as_path


@dataclass(frozen=True)
class Network:
    """Facts of a network; a test holds them to the networks themselves.

    Attributes
    ----------
    smallest : int
        Fewest pixels a side.
    dropout : bool
        The network has active dropout in training.
    linear_head : bool
        The last layer is linear and can be replaced.
    batch_norm : bool
        The network has batch norm.
    """

    smallest: int = 1
    dropout: bool = False
    linear_head: bool = True
    batch_norm: bool = True


CifarName = Literal["resnet20", "resnet32", "resnet44", "resnet56"]
TorchvisionName = Literal[
    "resnet18", "resnet34", "resnet50", "resnet101",
    "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    "alexnet", "squeezenet1_1", "densenet121", "googlenet",
]  # fmt: skip
LiteName = Literal["efficientnet_lite0"]
#: Networks that differ from the defaults of `Network`, by name.
_PARTICULAR: Mapping[str, Network] = MappingProxyType(
    {
        **{f"vgg{depth}": Network(smallest=32, dropout=True, batch_norm=False) for depth in (11, 13, 16, 19)},
        **{f"vgg{depth}_bn": Network(smallest=32, dropout=True) for depth in (11, 13, 16, 19)},
        "alexnet": Network(smallest=63, dropout=True, batch_norm=False),
        "squeezenet1_1": Network(smallest=17, dropout=True, linear_head=False, batch_norm=False),
        "densenet121": Network(smallest=29),
        "googlenet": Network(smallest=15, dropout=True),
        "efficientnet_lite0": Network(dropout=True),
    }
)

#: Weights that are no file of the user's: pretrained here on MNIST digits, random, or of the extra ``imagenet``.
MNIST, RANDOM, IMAGENET = "mnist", "random", "imagenet"
#: Suffixes of files of weights, in whatever case; `models.torch_files` reads them.
SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".bin", ".ckpt", ".tar")
_HUB = re.compile(r"hf:[\w.-]+/[\w.-]+(/[^@]+)?(@[^@]+)?")
_TORCHVISION = re.compile(r"[A-Z][A-Z0-9_]*")
WEIGHTS_ALLOWED = (
    f"allowed are mnist, random, imagenet, torchvision's names (IMAGENET1K_V1), a {', '.join(SUFFIXES[:-1])} or "
    f"{SUFFIXES[-1]} file, a run's directory, a model's, or hf:owner/name[/file][@revision]"
)


class Pretraining(Settings):
    """How ``backbone.weights=mnist`` is made; without effect for other weights."""

    facts: ClassVar[frozenset[Fact]] = frozenset({Fact.CONDITION})

    epochs: Annotated[int, Field(ge=1)] = 3
    """Epochs over the 5,000 MNIST digits."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Images of a batch."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """Peak of a one-cycle schedule."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the network and of the order of the images."""


class BackboneSettings(Settings):
    """What every backbone has settings for."""

    facts: ClassVar[frozenset[Fact]] = frozenset({Fact.CONDITION})

    name: str
    weights: Text
    """Weights: mnist, random, imagenet, a name of torchvision's, a file, a run's directory, or hf:owner/name."""
    in_channels: int
    image_size: Annotated[int, Field(ge=8)]
    """Pixels a side; images are resized to this size."""
    mean: Several[float] | None = None
    """Mean of the pixels, for each channel or one for all; null: as the weights state."""
    std: Several[float] | None = None
    """Standard deviation of the pixels, for each channel or one for all; null: as the weights state."""
    head: Literal["zeros", "normal", "keep"] = "zeros"
    """Last layer of the quantitative copy at the start: zeros, random, or the pretrained one."""
    pretraining: Pretraining = Pretraining()

    @property
    def network(self) -> Network:
        """Facts of the network."""
        return _PARTICULAR.get(self.name, Network())

    @field_validator("weights")
    @classmethod
    def _weights_may_be_a_path(cls, weights: str) -> str:
        as_path(weights)
        return weights

    @model_validator(mode="after")
    def _fits(self) -> "BackboneSettings":
        network = self.network
        self._require(self.image_size >= network.smallest, "image_size", f"at least {network.smallest}", self.name)
        self.require(_may_be_there(self.weights), "weights", WEIGHTS_ALLOWED, "backbone.")
        known = self.weights != IMAGENET or self.name in get_args(LiteName)
        self.require(known, "weights", f"imagenet is for efficientnet_lite0, not for {self.name}", "backbone.")
        convolution = f"must be keep for {self.name}, whose last layer is a convolution"
        self.require(self.head == "keep" or network.linear_head, "head", convolution, "backbone.")
        kept = self.head != "keep" or not network.linear_head or self.weights != RANDOM
        self.require(kept, "head", "keep needs pretrained weights", "backbone.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            both = values is not None or (self.mean is None and self.std is None)
            self.require(both, name, "backbone.mean and backbone.std must be given together", "backbone.")
            counted = values is None or len(values) in (1, self.in_channels)
            each = f"must have one value, or one for each of the {self.in_channels} channels"
            self.require(counted, name, each, "backbone.")
            self.require(all(map(math.isfinite, values or ())), name, "must be finite", "backbone.")
        self.require(min(self.std or (1.0,)) > 1e-38, "std", "must be above 0 in 32 bits", "backbone.")
        return self

    def _require(self, holds: bool, name: str, allowed: str, whom: str) -> None:
        self.require(holds, name, f"must be {allowed} for {whom}", "backbone.")


class CifarBackbone(BackboneSettings):
    """A residual network for small images (He et al., 2015, section 4.2)."""

    name: CifarName = "resnet20"
    weights: Text = MNIST
    in_channels: Annotated[int, Field(ge=1)] = 1
    """Channels of the images: 1 for grey, 3 for colour."""
    image_size: Annotated[int, Field(ge=8)] = 16

    @model_validator(mode="after")
    def _unpublished(self) -> "CifarBackbone":
        published = is_published_name(self.weights)
        self.require(not published, "weights", f"torchvision has no weights for {self.name}", "backbone.")
        return self


class TorchvisionBackbone(BackboneSettings):
    """A network of torchvision's."""

    name: TorchvisionName
    weights: Text = "IMAGENET1K_V1"
    in_channels: int = 3
    """Channels of the images: 3."""
    image_size: Annotated[int, Field(ge=8)] = 224

    @model_validator(mode="after")
    def _coloured(self) -> "TorchvisionBackbone":
        self._require(self.in_channels == 3, "in_channels", "3", self.name)
        return self


class LiteBackbone(BackboneSettings):
    """EfficientNet-Lite0, whose weights an installed package holds (the extra ``imagenet``)."""

    name: LiteName
    weights: Text = IMAGENET
    in_channels: int = 3
    """Channels of the images: 3."""
    image_size: Annotated[int, Field(ge=8)] = 224

    @model_validator(mode="after")
    def _coloured_and_unpublished(self) -> "LiteBackbone":
        self._require(self.in_channels == 3, "in_channels", "3", self.name)
        published = is_published_name(self.weights)
        self.require(not published, "weights", f"torchvision has no weights for {self.name}", "backbone.")
        return self


#: A choice of ``backbone``, told apart by its name.
AnyBackbone = Annotated[CifarBackbone | TorchvisionBackbone | LiteBackbone, Field(discriminator="name")]


def is_path(weights: str) -> bool:
    """Tell whether ``backbone.weights`` names a local file."""
    return Path(weights).suffix.lower() in SUFFIXES and not weights.startswith("hf:")


def is_run(weights: str) -> bool:
    """Tell whether ``backbone.weights`` names a directory that is there: of a run, a checkpoint or a model."""
    return not weights.startswith("hf:") and Path(weights).expanduser().is_dir()


def is_published_name(weights: str) -> bool:
    """Tell whether ``backbone.weights`` is a name that torchvision gives to weights."""
    return _TORCHVISION.fullmatch(weights) is not None


def is_anywhere(weights: str) -> bool:
    """Tell whether ``backbone.weights`` means the same on every machine: no file or directory of this one."""
    return weights in (MNIST, RANDOM, IMAGENET) or is_published_name(weights) or _HUB.fullmatch(weights) is not None


def _may_be_there(weights: str) -> bool:
    """Tell whether a text can name weights; the disk is not looked at, since settings are read on every machine."""
    return weights.strip() != "" and (not weights.startswith("hf:") or is_anywhere(weights))
