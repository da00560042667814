"""What could go wrong without an error: layouts, shared gradients, writes, exports, second derivatives."""

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, GateCache, check_affine
from fedsq_flwr.gating.packed.calls import ActivationGate
from tests.gating.gated_networks import batch_for, build, perturb, same_bits
from tests.gating.test_equal_at_the_start import logits_and_gradients


class Between(nn.Module):
    """``function`` between a convolution and the logits; notes the gradient that comes into it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.function(self.conv(x)).mean((2, 3)))


def moved_dual(function: Callable[[Tensor], Tensor]) -> tuple[nn.Module, DualCopy]:
    torch.manual_seed(0)
    network = Between(function).eval()
    return network, DualCopy(network)


IMAGES = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(0))
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda y: y.transpose(2, 3).contiguous().transpose(2, 3) * torch.arange(6),
    "channels last": lambda y: y.contiguous(memory_format=torch.channels_last) * torch.arange(6),
    "expanded": lambda y: y.sum((2, 3), keepdim=True).expand(-1, -1, 6, 6),
    "a slice": lambda y: y[:, :, ::2, 1:],
    "flipped": lambda y: y.flip(0, 3),
}


@pytest.mark.parametrize("relu", [F.relu, F.relu_], ids=["out of place", "in place"])
@pytest.mark.parametrize("pooled", [False, True], ids=["", "pooled"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_in_another_memory_layout_than_the_gate_is_gated_to_the_bit(
    layout: str, relu: Callable[[Tensor], Tensor], pooled: bool
) -> None:
    def function(x: Tensor) -> Tensor:
        y = LAYOUTS[layout](relu(x))
        return F.max_pool2d(y, 2) if pooled else y

    network, dual = moved_dual(function)
    labels = torch.arange(8) % 3
    logits, gradients = logits_and_gradients(network, network, IMAGES, labels)
    dual_logits, dual_gradients = logits_and_gradients(dual, dual.quantitative, IMAGES, labels)
    if pooled and layout == "channels last":  # the gathered winners are not laid out so: later sums round differently
        for key, gradient in gradients.items():
            torch.testing.assert_close(dual_gradients[key], gradient, rtol=1e-5, atol=1e-7)
    else:
        assert same_bits(logits, dual_logits)
        assert [key for key in gradients if not same_bits(gradients[key], dual_gradients[key])] == []


@pytest.mark.parametrize("relu", [F.relu, F.relu_], ids=["out of place", "in place"])
def test_a_gate_does_not_write_to_the_gradient_that_comes_in(relu: Callable[[Tensor], Tensor]) -> None:
    dual = DualCopy(nn.Sequential(nn.Conv2d(2, 3, 3), _Calling(relu)))
    output = dual(IMAGES)
    incoming = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    kept = incoming.clone()
    output.backward(incoming)
    assert same_bits(incoming, kept)


def test_a_pooling_gate_does_not_write_to_the_gradient_that_comes_in() -> None:
    dual = DualCopy(nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2)))
    output = dual(IMAGES)
    incoming = torch.ones(1).expand(output.shape)  # one number in memory: a write would show at once
    output.backward(incoming)
    assert incoming.unique().tolist() == [1.0]


class _Calling(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("moved", [False, True], ids=["at the start", "after a move"])
def test_a_relu_out_of_place_leaves_its_input_and_one_in_place_writes_to_it(moved: bool) -> None:
    seen: dict[str, bool] = {}

    def both(x: Tensor) -> Tensor:
        before = x.detach().clone()
        y = F.relu(x)
        seen["out of place"] = torch.equal(x, before)
        z = F.relu_(x)
        seen["in place"] = z.data_ptr() == x.data_ptr() and torch.equal(z, x)
        return y + z

    _, dual = moved_dual(both)
    if moved:
        perturb(dual.quantitative)
    dual(IMAGES)
    assert seen == {"out of place": True, "in place": True}


@pytest.mark.parametrize("name", ["CIFAR ResNet-20", "pool: nn.MaxPool2d", "residual add"])
def test_channels_last_is_equal_up_to_rounding(name: str) -> None:
    network = build(name).to(memory_format=torch.channels_last)
    images, labels = batch_for(network)
    images = images.to(memory_format=torch.channels_last)
    dual = DualCopy(network)
    logits, gradients = logits_and_gradients(network, network, images, labels)
    dual_logits, dual_gradients = logits_and_gradients(dual, dual.quantitative, images, labels)
    torch.testing.assert_close(dual_logits, logits, rtol=1e-5, atol=1e-6)
    for key, gradient in gradients.items():
        scale = gradient.abs().max()
        assert (dual_gradients[key] - gradient).abs().max() <= 1e-5 * scale, key


@pytest.mark.parametrize("name", ["residual add", "pool: nn.MaxPool2d", "CIFAR ResNet-8"])
def test_gates_do_not_depend_on_the_memory_layout_of_the_images(name: str) -> None:
    network = build(name).double()
    images = batch_for(network)[0].double()
    dual = DualCopy(network)
    usual, other = dual.gates(images), dual.gates(images.contiguous(memory_format=torch.channels_last))
    assert all(map(torch.equal, [*usual.masks(), *usual.winners()], [*other.masks(), *other.winners()]))
    torch.testing.assert_close(dual(images, gates=other), dual(images))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["residual add", "pool: nn.MaxPool2d", "CIFAR ResNet-8"])
def test_an_exported_dual_copy_gives_the_same_bits(name: str) -> None:
    dual = DualCopy(build(name))
    perturb(dual.quantitative)
    images, _ = batch_for(dual.quantitative)
    exported = torch.export.export(dual, (images,), strict=False)
    other, _ = batch_for(dual.quantitative, seed=9)
    with torch.no_grad():  # an exported network is for inference
        assert same_bits(exported.module()(other), dual(other))


@pytest.mark.parametrize("relu", [F.relu, F.relu_], ids=["out of place", "in place"])
def test_gradients_of_gradients_are_those_of_the_plain_network(relu: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 6), _Calling(relu), nn.Linear(6, 1)).double()
    images = torch.randn(8, 4, dtype=torch.float64)
    dual = DualCopy(network)
    found = []
    for model, parameters in ((network, network), (dual, dual.quantitative)):
        (first,) = torch.autograd.grad(model(images).square().sum(), parameters[0].weight, create_graph=True)
        second = torch.autograd.grad(first.square().sum(), [p for _, p in parameters.named_parameters()])
        found.append(second)
    torch.testing.assert_close(*found)


def test_a_dual_copy_within_another_keeps_its_own_gates() -> None:
    inner = DualCopy(build("linear layers"))
    perturb(inner.quantitative)
    images, _ = batch_for(inner.quantitative)
    network = nn.Sequential(inner, nn.ReLU(), nn.Linear(5, 2)).eval()
    outer = DualCopy(network)
    assert same_bits(outer(images), network(images))
    gates = outer.gates(images).masks()
    assert all(map(torch.equal, gates, [*inner.gates(images).masks(), inner(images) > 0]))


def test_a_weight_that_two_layers_share_is_affine_in_each_call_though_not_in_both() -> None:
    network = build("tied weights").double()
    images = batch_for(network)[0].double()
    dual = DualCopy(network)
    check_affine(dual, images)
    gates, weight = dual.gates(images), dual.quantitative.b.weight
    outputs = []
    start = weight.detach().clone()
    with torch.no_grad():
        for part in (0.0, 1.0, 0.5):
            weight.copy_(start * (1 + part))
            outputs.append(dual(images, gates=gates))
    assert not torch.allclose((outputs[0] + outputs[1]) / 2, outputs[2])


IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "sub_": lambda x: x.sub_(0.5).mul_(2.0),
    "-=": lambda x: operator.isub(x, 0.5),
    "a slice": lambda x: operator.setitem(x, (slice(None), 0), 1.0) or x,
    "a ReLU": F.relu_,
}


@pytest.mark.parametrize("call", IN_PLACE)
def test_a_network_that_writes_to_its_images_writes_once(call: str) -> None:
    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.relu(self.conv(IN_PLACE[call](x))).mean((2, 3)))

    torch.manual_seed(0)
    network, images = Writing().eval(), IMAGES.clone()
    dual = DualCopy(network)
    gates = dual.gates(images)
    kept = GateCache().bind(dual, data="", samples=8).of(torch.arange(8), images)
    assert same_bits(images, IMAGES)
    for given in (None, gates, kept):
        assert same_bits(dual(IMAGES.clone(), given), network(IMAGES.clone()))
    check_affine(dual, images)


def test_a_gate_in_single_precision_stays_open_in_half_precision() -> None:
    """1e-30 is positive, and 0 in float16."""
    gate = ActivationGate(torch.full((2, 3), 1e-30), None)
    values = torch.randn(2, 3, dtype=torch.float16)
    assert same_bits(gate.apply(values, in_place=False), values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "name",
    ["residual add", "pool: nn.MaxPool2d", "linear layers", "relu: dropout"]
    + [
        f"activation: nn.{n}"
        for n in ("ReLU6(inplace)", "Hardtanh(inplace)", "LeakyReLU(inplace)", "PReLU(channels)")
    ],
)
def test_in_another_precision_it_equals_the_plain_network_to_the_bit(name: str, dtype: torch.dtype) -> None:
    network = build(name)
    images, labels = batch_for(network)
    dual, network, images = DualCopy(network).to(dtype), network.to(dtype), images.to(dtype)
    logits, gradients = logits_and_gradients(network, network, images, labels)
    for gates in (None, dual.gates(images)):
        dual.zero_grad()
        dual_logits, dual_gradients = logits_and_gradients(dual, dual.quantitative, images, labels, gates=gates)
        assert same_bits(logits, dual_logits)
        differing = [key for key in gradients if not same_bits(gradients[key], dual_gradients[key])]
        if dtype != torch.float64 and "pool" in name:  # where windows overlap, torch adds gradients in another way
            for key in differing:
                torch.testing.assert_close(dual_gradients[key], gradients[key], rtol=0.05, atol=0.005)
        else:
            assert differing == []
    assert dual.fingerprint == DualCopy(network).fingerprint
