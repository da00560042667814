"""The tensors that travel: read, loaded whole or not at all; the plain network."""

import pytest
import torch
from torch import Tensor

from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from tests.gating.gated_networks import batch_for, build, perturb, same_bits


def test_the_state_is_the_parameters_and_then_the_statistics_by_the_networks_own_names(
    model: QuantitativeCopy,
) -> None:
    assert list(model.quantitative_state()) == [
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


def test_tied_weights_travel_once(model_class: type[QuantitativeCopy]) -> None:
    state = model_class(build("tied weights")).quantitative_state()
    assert "b.weight" in state
    assert "c.weight" not in state


def test_a_state_loaded_elsewhere_gives_the_same_logits(
    model: QuantitativeCopy, images: Tensor, model_class: type[QuantitativeCopy]
) -> None:
    perturb(model.quantitative)
    model.train()(images)
    other = model_class(build("residual add"))
    other.load_quantitative_state(model.quantitative_state())
    assert same_bits(other.eval()(images), model.eval()(images))


def test_loading_copies_and_does_not_share(model: QuantitativeCopy) -> None:
    state = {name: tensor.clone() for name, tensor in model.quantitative_state().items()}
    model.load_quantitative_state(state)
    state["fc.bias"].add_(1)
    assert not torch.equal(model.quantitative.fc.bias, state["fc.bias"])


def test_loading_keeps_the_parameters_that_an_optimiser_holds(model: QuantitativeCopy) -> None:
    held = list(model.parameters())
    model.load_quantitative_state({name: tensor + 1 for name, tensor in model.quantitative_state().items()})
    assert all(a is b for a, b in zip(held, model.parameters(), strict=True))
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
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(model: QuantitativeCopy, bad: str) -> None:
    spoil, message = BAD_STATES[bad]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = spoil({name: tensor + 1 for name, tensor in model.quantitative_state().items()})
    with pytest.raises(ValueError, match=message) as caught:
        model.load_quantitative_state(state)
    assert "\n" not in str(caught.value)
    assert all(same_bits(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_plain_network_has_the_quantitative_weights_and_its_own_relus(
    model: QuantitativeCopy, images: Tensor
) -> None:
    perturb(model.quantitative)
    plain = model.to_plain()
    reference = build("residual add")
    reference.load_state_dict(model.quantitative.state_dict())

    assert type(plain) is type(reference)
    assert same_bits(plain(images), reference(images))


def test_the_plain_network_is_a_copy_of_its_own(model: QuantitativeCopy) -> None:
    before = model.quantitative.fc.bias.detach().clone()
    plain = model.to_plain()
    with torch.no_grad():
        plain.fc.bias.add_(1)
    assert torch.equal(model.quantitative.fc.bias, before)
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
