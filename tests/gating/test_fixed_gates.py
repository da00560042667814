"""METHOD: gates depend on the input and the structural copy only; training never moves them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, Gates
from fedsq_flwr.gating.record import record
from tests.gating.gated_networks import RELU_SPELLINGS, SMALL, batch_for, build, perturb, same_bits


def train(dual: DualCopy, images: Tensor, labels: Tensor, steps: int = 4, rate: float = 0.1) -> None:
    dual.train()
    optimizer = torch.optim.SGD(dual.parameters(), rate, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(dual(images), labels).backward()
        optimizer.step()


def same_gates(a: Gates, b: Gates) -> bool:
    pairs = zip([*a.masks(), *a.winners()], [*b.masks(), *b.winners()], strict=True)
    return all(same_bits(x, y) for x, y in pairs)


GATES = {"relu: twice in place": 3, "relu: both signs": 3, "CIFAR ResNet-20": 19, "torchvision ResNet-18": 17}


@pytest.mark.parametrize("name", [*GATES, *(f"relu: {spelling}" for spelling in RELU_SPELLINGS)])
def test_every_spelling_of_a_relu_is_gated(name: str) -> None:
    network = build(name)
    images, _ = batch_for(network, count=8)
    assert len(DualCopy(network).gates(images).masks()) == GATES.get(name, 2)


@pytest.mark.parametrize("name", SMALL)
def test_training_the_quantitative_copy_moves_no_gate(name: str) -> None:
    network = build(name)
    images, labels = batch_for(network)
    dual = DualCopy(network)
    before = dual.gates(images)

    train(dual, images, labels)

    assert same_gates(before, dual.gates(images))
    own = DualCopy(dual.to_plain().eval()).gates(images)
    assert not same_gates(before, own), "the training was too weak to move even the network's own gates"


@pytest.mark.parametrize("name", SMALL)
def test_after_training_kept_gates_still_give_the_logits_of_fresh_ones(name: str) -> None:
    network = build(name)
    images, labels = batch_for(network)
    dual = DualCopy(network)
    kept = dual.gates(images)
    train(dual, images, labels)

    assert same_bits(dual.eval()(images), dual(images, gates=kept))
    assert not torch.equal(dual(images), dual.to_plain()(images)), "the fixed gates make no difference"


@pytest.mark.parametrize("batch_norm", ["batch", "frozen"])
def test_in_training_mode_kept_gates_give_the_logits_of_fresh_ones(batch_norm: str) -> None:
    dual = DualCopy(build("residual add"), batch_norm=batch_norm).train()
    perturb(dual.quantitative)
    images, _ = batch_for(dual.quantitative)
    assert same_bits(dual(images), dual(images, gates=dual.gates(images)))


def test_gates_are_the_same_in_training_and_in_evaluation_mode() -> None:
    network = build("relu: dropout")
    images, _ = batch_for(network)
    dual = DualCopy(network)
    in_evaluation = dual.eval().gates(images)
    assert same_gates(in_evaluation, dual.train().gates(images))


def test_dropout_is_active_in_the_quantitative_copy_only() -> None:
    network = build("relu: dropout")
    images, _ = batch_for(network)
    dual = DualCopy(network, batch_norm="frozen").train()
    torch.manual_seed(0)
    assert not torch.equal(dual(images), dual(images))
    assert same_gates(dual.gates(images), dual.gates(images))


def test_averaging_moves_no_gate(dual: DualCopy, images: Tensor) -> None:
    before = dual.gates(images)
    silos = [copy.deepcopy(dual) for _ in range(3)]
    for seed, silo in enumerate(silos):
        perturb(silo.quantitative, seed=seed)
    states = [silo.quantitative_state() for silo in silos]
    average = {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}

    dual.load_quantitative_state(average)

    assert same_gates(before, dual.gates(images))


def test_gates_of_a_sample_do_not_depend_on_the_batch_around_it(dual: DualCopy) -> None:
    images, _ = batch_for(dual.quantitative, count=32)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    for whole, permuted, part in zip(
        dual.gates(images).masks(), dual.gates(images[order]).masks(), dual.gates(images[:8]).masks(), strict=True
    ):
        assert torch.equal(whole[order], permuted)
        assert torch.equal(whole[:8], part)


def test_masks_are_open_just_where_the_plain_networks_relus_are_positive() -> None:
    network = build("linear layers")
    images, _ = batch_for(network)
    first = network[:3](images)
    second = network[:5](images)

    masks = DualCopy(network).gates(images).masks()

    assert [mask.dtype for mask in masks] == [torch.bool, torch.bool]
    assert torch.equal(masks[0], first > 0)
    assert torch.equal(masks[1], second > 0)


def test_masks_come_in_forward_order_with_the_shapes_of_the_activations() -> None:
    network = build("CIFAR ResNet-20")
    images, _ = batch_for(network)
    masks = DualCopy(network).gates(images).masks()
    stages = [(16, 16, 16)] * 7 + [(32, 8, 8)] * 6 + [(64, 4, 4)] * 6
    assert [tuple(mask.shape) for mask in masks] == [(len(images), *shape) for shape in stages]
    assert all(0 < mask.float().mean() < 1 for mask in masks)


def test_a_closed_gate_passes_no_gradient_and_an_open_one_all_of_it() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        for layer in (network[0], network[2]):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
        network[0].bias.copy_(torch.tensor([1.0, -9.0]))  # the first gate is open, the second closed
    dual = DualCopy(network)
    with torch.no_grad():  # now the quantitative copy's own signs are the other way round
        dual.quantitative[0].bias.copy_(torch.tensor([-9.0, 1.0]))
    image = torch.ones(1, 2)

    logits = dual(image)
    logits.sum().backward()

    assert logits.item() == 1 + 1 - 9
    assert dual.quantitative[0].bias.grad.tolist() == [1.0, 0.0]
    assert dual.quantitative[2].weight.grad.tolist() == [[-7.0, 0.0]]


def test_a_closed_gate_gives_zero_even_for_an_infinite_value() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1)).eval()
    nn.init.constant_(network[0].weight, -1.0)
    dual = DualCopy(network)
    nn.init.constant_(dual.quantitative[0].weight, float("inf"))
    assert torch.equal(dual(torch.ones(1, 1)), network[2].bias.view(1, 1))


def test_the_structural_pass_keeps_no_graph_even_where_images_want_gradients(dual: DualCopy, images: Tensor) -> None:
    gates, output = record(dual.structural, images.requires_grad_(), pool_gates=True)
    assert not output.requires_grad
    assert not any(gate.source.requires_grad for gate in gates)
    dual(images).sum().backward()
    assert not any(buffer.requires_grad for buffer in dual.structural.buffers())
    assert all(parameter.grad is not None for parameter in dual.quantitative.parameters())
