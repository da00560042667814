"""What travels: read, loaded whole or not at all; the new head; the plain network."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from tests.gating.gated_networks import CLASSES, batch_for, build, perturb, same_bits


def test_the_state_is_the_parameters_and_then_the_statistics_by_the_networks_own_names(dual: DualCopy) -> None:
    assert list(dual.quantitative_state()) == [
        "stem.weight",
        "stem.bias",
        "a.weight",
        "b.weight",
        "b.bias",
        "norm.weight",
        "norm.bias",
        "fc.weight",
        "fc.bias",
        "norm.running_mean",
        "norm.running_var",
    ]


@pytest.mark.parametrize("batch_norm", ["batch", "frozen"])
def test_every_method_sends_the_same_names(batch_norm: str) -> None:
    network = build("CIFAR ResNet-8")
    dual, plain = DualCopy(network, batch_norm=batch_norm), QuantitativeCopy(network, batch_norm=batch_norm)
    assert list(dual.quantitative_state()) == list(plain.quantitative_state())


def test_nothing_of_the_structural_copy_is_in_the_state(dual: DualCopy) -> None:
    structural = {tensor.data_ptr() for tensor in dual.structural.state_dict().values()}
    assert structural.isdisjoint(tensor.data_ptr() for tensor in dual.quantitative_state().values())


def test_tied_weights_travel_once() -> None:
    state = DualCopy(build("tied weights")).quantitative_state()
    assert "b.weight" in state
    assert "c.weight" not in state


def test_a_state_loaded_elsewhere_gives_the_same_logits(dual: DualCopy, images: Tensor) -> None:
    perturb(dual.quantitative)
    dual.train()(images)
    other = DualCopy(build("residual add"))
    other.load_quantitative_state(dual.quantitative_state())
    assert same_bits(other.eval()(images), dual.eval()(images))


def test_loading_copies_and_does_not_share(dual: DualCopy) -> None:
    state = {name: tensor.clone() for name, tensor in dual.quantitative_state().items()}
    dual.load_quantitative_state(state)
    state["fc.bias"].add_(1)
    assert not torch.equal(dual.quantitative.fc.bias, state["fc.bias"])


def test_loading_keeps_the_parameters_that_an_optimiser_holds(dual: DualCopy) -> None:
    held = list(dual.parameters())
    dual.load_quantitative_state({name: tensor + 1 for name, tensor in dual.quantitative_state().items()})
    assert all(a is b for a, b in zip(held, dual.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in held)


def without(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name != "norm.running_var"}


BAD_STATES = {
    "missing": (without, r"missing \['norm\.running_var'\]"),
    "unknown": (lambda state: {**state, "extra": torch.zeros(1)}, r"unknown \['extra'\]"),
    "misshaped": (
        lambda state: {**state, "norm.running_var": torch.zeros(3)},
        r"'norm\.running_var' has shape \(3,\)",
    ),
    "broadcastable": (lambda state: {**state, "fc.bias": torch.zeros(1)}, r"'fc\.bias' has shape \(1,\)"),
    "empty": (lambda state: {}, "missing"),
    "structural": (lambda state: {f"structural.{name}": tensor for name, tensor in state.items()}, "unknown"),
}


@pytest.mark.parametrize("bad", BAD_STATES)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(dual: DualCopy, bad: str) -> None:
    spoil, message = BAD_STATES[bad]
    before = {name: tensor.clone() for name, tensor in dual.state_dict().items()}
    state = spoil({name: tensor + 1 for name, tensor in dual.quantitative_state().items()})
    with pytest.raises(ValueError, match=message) as caught:
        dual.load_quantitative_state(state)
    assert "\n" not in str(caught.value)
    assert all(same_bits(before[name], tensor) for name, tensor in dual.state_dict().items())


def test_a_new_head_of_zeros_starts_from_the_neutral_point(dual: DualCopy, images: Tensor) -> None:
    dual.replace_head(3)
    assert dual(images).tolist() == [[0.0] * 3] * len(images)
    assert tuple(dual.quantitative_state()["fc.weight"].shape) == (3, 6)


def test_a_new_normal_head_is_drawn_from_the_generator(dual: DualCopy) -> None:
    def drawn(seed: int) -> Tensor:
        dual.replace_head(400, "normal", torch.Generator().manual_seed(seed))
        assert not dual.quantitative.fc.bias.any()
        return dual.quantitative.fc.weight.detach().clone()

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert same_bits(first, again)
    assert not torch.equal(first, other)
    assert first.std().item() == pytest.approx(0.01, rel=0.1)
    assert first.mean().item() == pytest.approx(0.0, abs=0.001)


@pytest.mark.parametrize("initialisation", ["zeros", "normal"])
def test_a_new_head_leaves_the_global_generator_as_it_was(dual: DualCopy, initialisation: str) -> None:
    before = torch.get_rng_state()
    dual.replace_head(3, initialisation, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())


def test_a_new_head_leaves_the_structural_copy_as_it_is(dual: DualCopy, images: Tensor) -> None:
    before = dual.gates(images)
    dual.replace_head(3)
    assert tuple(dual.structural.fc.weight.shape) == (CLASSES, 6)
    assert all(torch.equal(a, b) for a, b in zip(before.masks(), dual.gates(images).masks(), strict=True))


def test_a_new_head_learns(dual: DualCopy, images: Tensor) -> None:
    dual.replace_head(3)
    F.cross_entropy(dual(images), torch.zeros(len(images), dtype=torch.int64)).backward()
    assert dual.quantitative.fc.weight.grad.abs().sum() > 0
    assert any(parameter is dual.quantitative.fc.weight for parameter in dual.parameters())


def test_a_new_head_has_the_old_ones_dtype() -> None:
    dual = DualCopy(build("residual add").double())
    dual.replace_head(3)
    assert dual.quantitative.fc.weight.dtype == torch.float64


def test_the_head_is_the_last_linear_layer_unless_it_is_named() -> None:
    network = build("tied weights")
    assert DualCopy(network).head == "fc"
    assert DualCopy(network, head="a").head == "a"


def test_a_head_inside_a_submodule_is_replaced() -> None:
    dual = DualCopy(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Dropout(), nn.Linear(4, 2))))
    dual.replace_head(7)
    assert dual.head == "2.1"
    assert dual(torch.randn(8, 4)).shape == (8, 7)


def test_a_head_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="head='classifier' names no module of Residual"):
        DualCopy(build("residual add"), head="classifier")


def test_a_head_that_is_not_linear_is_not_replaced() -> None:
    with pytest.raises(ValueError, match="not a Conv2d"):
        DualCopy(build("residual add"), head="stem").replace_head(3)


def test_a_network_without_a_linear_layer_has_no_head_to_replace() -> None:
    dual = DualCopy(nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Flatten()))
    assert dual.head is None
    with pytest.raises(ValueError, match="name its head"):
        dual.replace_head(3)


def test_an_unknown_initialisation_is_refused_by_name(dual: DualCopy) -> None:
    with pytest.raises(ValueError, match="head='ones': allowed are zeros, normal"):
        dual.replace_head(3, "ones")


def test_the_plain_network_has_the_quantitative_weights_and_its_own_relus(dual: DualCopy, images: Tensor) -> None:
    perturb(dual.quantitative)
    plain = dual.to_plain()
    reference = build("residual add")
    reference.load_state_dict(dual.quantitative.state_dict())

    assert type(plain) is type(reference)
    assert same_bits(plain(images), reference(images))
    assert not torch.equal(plain(images), dual(images))


def test_the_plain_network_is_a_copy_of_its_own(dual: DualCopy) -> None:
    before = dual.quantitative.fc.bias.detach().clone()
    plain = dual.to_plain()
    with torch.no_grad():
        plain.fc.bias.add_(1)
    assert torch.equal(dual.quantitative.fc.bias, before)
    assert not any("structural" in name for name, _ in plain.named_modules())


def test_the_quantitative_copy_alone_is_the_plain_network() -> None:
    network = build("residual add")
    images, _ = batch_for(network)
    alone = QuantitativeCopy(network)
    assert same_bits(alone(images), network(images))
    assert alone.fingerprint == ""
    assert [id(p) for p in alone.parameters()] != [id(p) for p in network.parameters()]


@pytest.mark.parametrize("training", [True, False])
def test_the_copies_take_the_networks_mode(training: bool) -> None:
    network = build("residual add").train(training)
    assert DualCopy(network).training is training
    assert QuantitativeCopy(network).training is training
