"""Every backbone can be built, gated and given a new head; what the settings know of them holds."""

from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from fedsq_flwr.gating import DualCopy
from fedsq_flwr.models import BACKBONES, build_backbone
from fedsq_flwr.models.batch_norm import batch_norms
from fedsq_flwr.models.head import find_head
from fedsq_flwr.settings.backbone import AnyBackbone, BackboneSettings, LiteName, Network, TorchvisionName

#: Millions of parameters with 1,000 classes (10 for the networks of small images), as published.
MILLIONS = {
    "resnet20": 0.27, "resnet32": 0.46, "resnet44": 0.66, "resnet56": 0.85, "resnet18": 11.69, "resnet34": 21.80,
    "resnet50": 25.56, "resnet101": 44.55, "vgg11": 132.86, "vgg11_bn": 132.87, "vgg13": 133.05, "vgg13_bn": 133.05,
    "vgg16": 138.36, "vgg16_bn": 138.37, "vgg19": 143.67, "vgg19_bn": 143.68, "alexnet": 61.10,
    "squeezenet1_1": 1.24, "densenet121": 7.98, "googlenet": 6.62, "efficientnet_lite0": 4.65,
}  # fmt: skip
PHOTOGRAPHS = (*get_args(TorchvisionName), *get_args(LiteName))


def told(name: str) -> Network:
    """What the settings know of a network."""
    backbone: BackboneSettings = TypeAdapter(AnyBackbone).validate_python({"name": name, "head": "keep"})
    return backbone.network


def outline(name: str, classes: int = 10) -> nn.Module:
    """The network without memory for its weights: shapes only."""
    with torch.device("meta"):
        return BACKBONES[name].build(3, classes).eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    network = outline(name, 1000 if name in PHOTOGRAPHS else 10)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(MILLIONS[name], abs=0.006)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_head_is_the_last_layer_and_linear_where_the_settings_say_so(name: str) -> None:
    network, head = outline(name, 7), BACKBONES[name].head
    assert find_head(network, None) == (head if told(name).linear_head else None)
    assert isinstance(network.get_submodule(head), nn.Linear if told(name).linear_head else nn.Conv2d)
    assert len(network.get_submodule(head).weight) == 7


@pytest.mark.parametrize("name", BACKBONES)
def test_dropout_is_where_the_settings_say_so(name: str) -> None:
    active = [m for m in outline(name).modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
    assert bool(active) is told(name).dropout


@pytest.mark.parametrize("name", BACKBONES)
def test_batch_norm_is_where_the_settings_say_so(name: str) -> None:
    assert bool(batch_norms(outline(name))) is told(name).batch_norm


@pytest.mark.parametrize("name", BACKBONES)
def test_images_of_the_smallest_size_pass_and_smaller_ones_do_not(name: str) -> None:
    network, smallest = outline(name), told(name).smallest
    assert network(torch.empty(2, 3, smallest, smallest, device="meta")).shape == (2, 10)
    if name in ("alexnet", "squeezenet1_1", "densenet121") or name.startswith("vgg"):
        with pytest.raises(RuntimeError):
            network(torch.empty(2, 3, smallest - 1, smallest - 1, device="meta"))


@pytest.mark.parametrize("name", ["squeezenet1_1", "densenet121", "googlenet", "resnet34", "efficientnet_lite0"])
def test_under_fixed_gates_a_network_starts_equal_to_itself(name: str) -> None:
    network = build_backbone(name, in_channels=3, classes=10, seed=0).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network(images), DualCopy(network)(images))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_networks_for_photographs_take_colour_only(name: str) -> None:
    with pytest.raises(ValueError, match=f"in_channels=1: {name} takes images of 3 channels"):
        build_backbone(name, in_channels=1, classes=10, seed=0)


def test_googlenet_has_one_head_and_leaves_normalisation_to_the_input_pipeline() -> None:
    network = outline("googlenet")
    assert network.aux1 is None
    assert network.transform_input is False


def test_building_seeds_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def seeded(_seed: int) -> None:
        raise AssertionError("a GPU's generator was reseeded, and nothing restores it")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    build_backbone("resnet20", in_channels=1, classes=10, seed=5)
