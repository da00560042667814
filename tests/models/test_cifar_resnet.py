"""The residual networks of He et al. (2015), section 4.2."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.models import build_backbone
from fedsq_flwr.models.cifar_resnet import BasicBlock


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "millions", "layers"),
    [
        ("resnet20", 0.27, 20),
        ("resnet32", 0.46, 32),
        ("resnet44", 0.66, 44),
        ("resnet56", 0.85, 56),
    ],
)
def test_size_and_depth_are_those_of_table_6(name: str, millions: float, layers: int) -> None:
    network = build_backbone(name, in_channels=3, classes=10, seed=0)
    assert parameters(network) / 1e6 == pytest.approx(millions, abs=0.005)
    weighted = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(weighted) == layers


def test_stages_halve_the_image_and_double_the_channels() -> None:
    network = build_backbone("resnet20", in_channels=3, classes=10, seed=0).eval()
    shapes: list[tuple[int, ...]] = []
    for stage in (network.layer1, network.layer2, network.layer3):
        stage.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert shapes == [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]


@pytest.mark.parametrize("side", [8, 15, 16, 33])
@pytest.mark.parametrize(("in_channels", "classes"), [(1, 10), (3, 2)])
def test_images_of_any_size_become_logits(side: int, in_channels: int, classes: int) -> None:
    network = build_backbone("resnet20", in_channels=in_channels, classes=classes, seed=0)
    assert network(torch.zeros(2, in_channels, side, side)).shape == (2, classes)


def test_shortcuts_have_no_parameters() -> None:
    block = BasicBlock(16, 32, 2)
    assert {name for name, _ in block.named_parameters()} == {
        f"{layer}.{name}"
        for layer, names in {"conv1": ["weight"], "bn1": ["weight", "bias"]}.items()
        for name in names
    } | {"conv2.weight", "bn2.weight", "bn2.bias"}


def test_a_shortcut_subsamples_and_pads_with_zero_channels() -> None:
    block = BasicBlock(2, 6, 2).eval()
    nn.init.zeros_(block.conv2.weight)  # so that only the shortcut is left
    image = torch.rand(1, 2, 4, 4)
    output = block(image)
    assert torch.equal(output[:, 2:4], image[:, :, ::2, ::2])
    assert not output[:, :2].any()
    assert not output[:, 4:].any()


def test_the_relu_comes_after_the_add() -> None:
    block = BasicBlock(2, 2, 1).eval()
    image = torch.randn(3, 2, 5, 5)

    def branch(x: Tensor) -> Tensor:
        return block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))

    torch.testing.assert_close(block(image), F.relu(branch(image) + image))


def test_a_block_shows_its_stride_and_padding() -> None:
    assert BasicBlock(16, 32, 2).extra_repr() == "stride=2, padding=8"


@pytest.mark.parametrize(
    "name", ["resnet20", "resnet32", "resnet44", "resnet56", "resnet18", "squeezenet1_1", "densenet121", "googlenet"]
)
def test_random_weights_depend_on_the_seed_only(name: str) -> None:
    def weights(seed: int) -> list[Tensor]:
        return list(build_backbone(name, in_channels=3, classes=10, seed=seed).state_dict().values())

    torch.manual_seed(1)
    first = weights(5)
    torch.manual_seed(2)
    again, other = weights(5), weights(6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_building_leaves_the_global_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    build_backbone("resnet20", in_channels=1, classes=10, seed=5)
    assert torch.equal(before, torch.get_rng_state())


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="resnet19"):
        build_backbone("resnet19", in_channels=1, classes=10, seed=0)
