"""The head: found, replaced, drawn without the global generator."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import QuantitativeCopy
from tests.gating.gated_networks import build, same_bits


def test_a_new_head_of_zeros_starts_from_the_neutral_point(model: QuantitativeCopy, images: Tensor) -> None:
    model.replace_head(3)
    assert model(images).tolist() == [[0.0] * 3] * len(images)
    assert tuple(model.quantitative_state()["fc.weight"].shape) == (3, 6)


def test_a_new_normal_head_is_drawn_from_the_generator(model: QuantitativeCopy) -> None:
    def drawn(seed: int) -> Tensor:
        model.replace_head(400, "normal", torch.Generator().manual_seed(seed))
        assert not model.quantitative.fc.bias.any()
        return model.quantitative.fc.weight.detach().clone()

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert same_bits(first, again)
    assert not torch.equal(first, other)
    assert first.std().item() == pytest.approx(0.01, rel=0.1)
    assert first.mean().item() == pytest.approx(0.0, abs=0.001)


@pytest.mark.parametrize("initialisation", ["zeros", "normal"])
def test_a_new_head_leaves_the_global_generator_as_it_was(model: QuantitativeCopy, initialisation: str) -> None:
    before = torch.get_rng_state()
    model.replace_head(3, initialisation, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())


def test_a_new_head_learns(model: QuantitativeCopy, images: Tensor) -> None:
    model.replace_head(3)
    F.cross_entropy(model(images), torch.zeros(len(images), dtype=torch.int64)).backward()
    assert model.quantitative.fc.weight.grad.abs().sum() > 0
    assert any(parameter is model.quantitative.fc.weight for parameter in model.parameters())


def test_a_new_head_has_the_old_ones_dtype(model_class: type[QuantitativeCopy]) -> None:
    model = model_class(build("residual add").double())
    model.replace_head(3)
    assert model.quantitative.fc.weight.dtype == torch.float64


def test_the_head_is_the_last_linear_layer_unless_it_is_named(model_class: type[QuantitativeCopy]) -> None:
    network = build("tied weights")
    assert model_class(network).head == "fc"
    assert model_class(network, head="a").head == "a"


def test_a_head_inside_a_submodule_is_replaced(model_class: type[QuantitativeCopy]) -> None:
    model = model_class(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Dropout(), nn.Linear(4, 2))))
    model.replace_head(7)
    assert model.head == "2.1"
    assert model(torch.randn(8, 4)).shape == (8, 7)


def test_a_head_that_does_not_exist_is_refused_by_name(model_class: type[QuantitativeCopy]) -> None:
    with pytest.raises(ValueError, match="head='classifier' names no module of Residual"):
        model_class(build("residual add"), head="classifier")


def test_a_head_that_is_not_linear_is_not_replaced(model_class: type[QuantitativeCopy]) -> None:
    with pytest.raises(ValueError, match="not a Conv2d"):
        model_class(build("residual add"), head="stem").replace_head(3)


def test_a_network_without_a_linear_layer_has_no_head_to_replace(model_class: type[QuantitativeCopy]) -> None:
    model = model_class(nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Flatten()))
    assert model.head is None
    with pytest.raises(ValueError, match="name its head"):
        model.replace_head(3)


def test_an_unknown_initialisation_is_refused_by_name(model: QuantitativeCopy) -> None:
    with pytest.raises(ValueError, match="head='ones': allowed are zeros, normal"):
        model.replace_head(3, "ones")
