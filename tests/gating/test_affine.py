"""METHOD: with fixed gates the output is affine in each layer taken alone, and not in all at once."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy
from tests.gating.gated_networks import SMALL, batch_for, build, learnable_layers, perturb


def gap(dual: DualCopy, run: Callable[[nn.Module], Tensor], *, only: str | None = None, scale: float = 1.0) -> float:
    """How far f((a+b)/2) is from (f(a)+f(b))/2, where a and b differ from ``dual`` in the layer ``only``."""
    middle = copy.deepcopy(dual)
    start = [parameter.detach().clone() for parameter in middle.parameters()]
    ends, outputs = [], []
    with torch.no_grad():
        for seed in (1, 2):
            perturb(middle.quantitative, seed=seed, scale=scale, only=only)
            ends.append([parameter.clone() for parameter in middle.parameters()])
            outputs.append(run(middle))
            for parameter, value in zip(middle.parameters(), start, strict=True):
                parameter.copy_(value)
        for parameter, a, b in zip(middle.parameters(), *ends, strict=True):
            parameter.copy_((a + b) / 2)
        moved = (outputs[0] - outputs[1]).abs().max()
        assert moved > 1e-6, "the layer has no effect"
        return float(((outputs[0] + outputs[1]) / 2 - run(middle)).abs().max() / moved)


@pytest.mark.parametrize("name", SMALL)
def test_the_output_is_affine_in_each_layer_alone(name: str) -> None:
    network = build(name).double()
    images = batch_for(network)[0].double()
    dual = DualCopy(network)
    gates = dual.gates(images)
    layers = learnable_layers(network)

    gaps = {layer: gap(dual, lambda model: model(images, gates=gates), only=layer) for layer in layers}

    assert len(layers) >= 3
    assert {layer: size for layer, size in gaps.items() if size > 1e-9} == {}


@pytest.mark.parametrize("name", SMALL)
def test_the_output_is_not_affine_in_all_layers_at_once(name: str) -> None:
    network = build(name).double()
    images = batch_for(network)[0].double()
    dual = DualCopy(network)
    assert gap(dual, lambda model: model(images)) > 1e-3


def test_with_its_own_relus_the_output_is_not_affine_in_a_layer() -> None:
    network = build("residual add").double()
    images = batch_for(network)[0].double()
    dual = DualCopy(network)
    assert gap(dual, lambda model: model.quantitative(images), only="stem") > 1e-3


def test_the_average_of_two_models_that_differ_in_one_layer_averages_their_outputs() -> None:
    network = build("residual add").double()
    images = batch_for(network)[0].double()
    silos = [DualCopy(network), DualCopy(network)]
    for seed, silo in enumerate(silos):
        perturb(silo.quantitative, seed=seed, scale=1.0, only="a")
    server = DualCopy(network)
    states = [silo.quantitative_state() for silo in silos]
    server.load_quantitative_state({name: (states[0][name] + states[1][name]) / 2 for name in states[0]})

    averaged_outputs = (silos[0](images) + silos[1](images)) / 2

    torch.testing.assert_close(server(images), averaged_outputs, rtol=1e-10, atol=1e-10)
    plain = [silo.to_plain()(images) for silo in silos]
    assert not torch.allclose(server.to_plain()(images), (plain[0] + plain[1]) / 2, rtol=1e-3)


@pytest.mark.parametrize(("batch_norm", "affine"), [("frozen", True), ("batch", False)])
def test_frozen_batch_norm_makes_training_affine_too(batch_norm: str, affine: bool) -> None:
    network = build("residual add").double()
    images = batch_for(network)[0].double()
    dual = DualCopy(network, batch_norm=batch_norm).train()
    assert (gap(dual, lambda model: model(images), only="a") < 1e-9) is affine


@pytest.mark.parametrize(("pool_gates", "affine"), [(True, True), (False, False)])
def test_without_pooling_gates_the_output_is_not_affine(pool_gates: bool, affine: bool) -> None:
    network = build("pool: F.max_pool2d(overlap, padding)").double()
    images = batch_for(network)[0].double()
    dual = DualCopy(network, pool_gates=pool_gates)
    assert (gap(dual, lambda model: model(images), only="first") < 1e-9) is affine
