"""METHOD: at the start the dual network equals the plain one, in output and in gradient, to the bit."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy
from fedsq_flwr.learning.threads import torch_threads
from tests.gating.gated_networks import BUILDERS, WITHOUT_WRITING, batch_for, build, same_bits


def logits_and_gradients(network: nn.Module, parameters: nn.Module, images: Tensor, labels: Tensor, **more: object):
    images = images.clone().requires_grad_()
    logits = network(images * 1, **more)  # not a leaf, which nothing may write to in place
    F.cross_entropy(logits, labels).backward()
    return logits, {"images": images.grad, **{name: p.grad for name, p in parameters.named_parameters()}}


@pytest.mark.parametrize("pool_gates", [True, False], ids=["pooling gated", "pooling free"])
@pytest.mark.parametrize("name", BUILDERS)
def test_output_and_every_gradient_equal_the_plain_networks_to_the_bit(name: str, pool_gates: bool) -> None:
    network = build(name)
    images, labels = batch_for(network)
    dual = DualCopy(network, pool_gates=pool_gates)
    if name in WITHOUT_WRITING:
        assert same_bits(network(images), dual(images))
        network.between = WITHOUT_WRITING[name]

    logits, gradients = logits_and_gradients(network, network, images, labels)
    dual_logits, dual_gradients = logits_and_gradients(dual, dual.quantitative, images, labels)

    assert same_bits(logits, dual_logits)
    assert gradients.keys() == dual_gradients.keys()
    assert all(gradient is not None for gradient in gradients.values())
    differing = [key for key in gradients if not same_bits(gradients[key], dual_gradients[key])]
    assert differing == []


@pytest.mark.parametrize("name", BUILDERS)
def test_gates_made_beforehand_give_the_same_bits_as_gates_made_on_the_way(name: str) -> None:
    network = build(name)
    images, labels = batch_for(network)
    dual = DualCopy(network)

    expected, gradients = logits_and_gradients(dual, dual.quantitative, images, labels)
    dual.zero_grad()
    logits, dual_gradients = logits_and_gradients(dual, dual.quantitative, images, labels, gates=dual.gates(images))

    assert same_bits(expected, logits)
    assert all(same_bits(gradients[key], dual_gradients[key]) for key in gradients)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_thread_count_does_not_matter_to_the_equality(threads: int) -> None:
    network = build("CIFAR ResNet-8")
    images, labels = batch_for(network, count=32)
    dual = DualCopy(network)
    with torch_threads(threads):
        logits, gradients = logits_and_gradients(network, network, images, labels)
        dual_logits, dual_gradients = logits_and_gradients(dual, dual.quantitative, images, labels)
    assert same_bits(logits, dual_logits)
    assert all(same_bits(gradients[key], dual_gradients[key]) for key in gradients)


def test_the_network_given_is_left_as_it_is() -> None:
    network = build("residual add").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images, labels = batch_for(network)
    dual = DualCopy(network)

    F.cross_entropy(dual(images), labels).backward()
    torch.optim.SGD(dual.parameters(), 0.5).step()

    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(same_bits(before[name], tensor) for name, tensor in network.state_dict().items())


def test_images_are_not_written_to_by_networks_that_start_with_an_ordinary_layer() -> None:
    network = build("relu: x.relu_()")
    images, _ = batch_for(network)
    kept = images.clone()
    DualCopy(network)(images)
    assert same_bits(images, kept)


def test_gradients_in_another_memory_layout_than_the_mask_are_gated_alike() -> None:
    network = build("residual add")
    images, _ = batch_for(network)
    dual = DualCopy(network)
    plain_gradient, dual_gradient = (
        torch.autograd.grad(
            run(images).expand(4, -1, -1).permute(2, 1, 0).square().sum(), list(parameters.parameters())
        )
        for run, parameters in ((network, network), (dual, dual.quantitative))
    )
    assert all(same_bits(a, b) for a, b in zip(plain_gradient, dual_gradient, strict=True))
