"""Gates that are not these images' gates, or a pass that takes another branch, are an error, not a guess."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, GateCache, GateMismatchError, UnsupportedActivationError
from tests.gating.gated_networks import Branching, Images, batch_for, build


def test_gates_of_another_batch_size_are_refused(dual: DualCopy, images: Tensor) -> None:
    with pytest.raises(GateMismatchError):
        dual(images, gates=dual.gates(images[:-1]))


@pytest.mark.parametrize("name", ["pool: F.max_pool2d", "pool: nn.AdaptiveMaxPool2d", "relu: F.relu"])
def test_gates_of_another_image_size_are_refused(name: str) -> None:
    network = build(name)
    dual = DualCopy(network)
    images, _ = batch_for(network)
    for side in (6, 12):
        other = F.interpolate(images, size=(side, side))
        with pytest.raises(GateMismatchError):
            dual(images, gates=dual.gates(other))


def test_gates_of_another_network_are_refused() -> None:
    images = torch.randn(8, 7)
    gates = DualCopy(build("linear layers")).gates(images)
    for name in ("tied weights", "data-dependent branch"):
        with pytest.raises(GateMismatchError):
            DualCopy(build(name))(images, gates=gates)


def test_too_few_and_too_many_gates_are_refused() -> None:
    shallow = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    deep = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    images = torch.randn(8, 4)
    a, b = DualCopy(shallow), DualCopy(deep)
    with pytest.raises(GateMismatchError, match="more than the 1 recorded"):
        b(images, gates=a.gates(images))
    with pytest.raises(GateMismatchError, match="used 1 gates, the structural pass recorded 2"):
        a(images, gates=b.gates(images))


def test_gates_with_and_without_pooling_are_told_apart() -> None:
    network = build("pool: F.max_pool2d")
    images, _ = batch_for(network)
    with_pooling, without = DualCopy(network), DualCopy(network, pool_gates=False)
    with pytest.raises(GateMismatchError):
        with_pooling(images, gates=without.gates(images))
    with pytest.raises(GateMismatchError):
        without(images, gates=with_pooling.gates(images))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_quantitative_pass_that_takes_another_branch_is_refused(sign: float) -> None:
    network = Branching().eval()
    with torch.no_grad():
        network.a.bias.fill_(sign * 9)
    images, _ = batch_for(network)
    dual = DualCopy(network)
    assert torch.equal(dual(images), network(images))
    with torch.no_grad():
        dual.quantitative.a.bias.fill_(-sign * 9)
    with pytest.raises(GateMismatchError):
        dual(images)


@pytest.mark.parametrize("function", [F.relu, lambda x: F.max_pool2d(x, 2)], ids=["relu", "pool"])
def test_the_message_is_one_line_that_says_which_gate(function: Callable[[Tensor], Tensor]) -> None:
    network = Images(function).eval()
    images, _ = batch_for(network)
    dual = DualCopy(network)
    with pytest.raises(GateMismatchError, match=r"^gate 0: ") as caught:
        dual(images, gates=dual.gates(images[:-1]))
    assert "\n" not in str(caught.value)


def test_after_a_mismatch_torch_and_the_dual_copy_work_as_before(dual: DualCopy, images: Tensor) -> None:
    expected = dual(images)
    with pytest.raises(GateMismatchError):
        dual(images, gates=dual.gates(images[:-1]))
    assert F.relu(torch.tensor([-1.0, 1.0])).tolist() == [0.0, 1.0]
    assert torch.equal(dual(images), expected)


def test_an_error_of_the_network_itself_is_not_hidden_by_the_gates(dual: DualCopy, images: Tensor) -> None:
    broken = copy.deepcopy(dual)
    broken.quantitative.b = nn.Conv2d(99, 6, 3)
    with pytest.raises(RuntimeError, match="channels") as caught:
        broken(images)
    assert not isinstance(caught.value, GateMismatchError)


class Choosing(nn.Module):
    """Two layers of the same shape, of which one is used: which one hangs on the activations."""

    def __init__(self, gated: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.fc = nn.Conv2d(2, 8, 3, padding=1), nn.Linear(8, 3)
        self.ways = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.gated = gated

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return self.fc(self.gated(self.ways[int(x.mean() > 0.5)](x)).mean((2, 3)))


@pytest.mark.parametrize("gated", [F.relu, F.relu_, lambda x: F.max_pool2d(x, 2)], ids=["relu", "in place", "pool"])
@pytest.mark.parametrize("packed", [False, True])
def test_another_way_with_gates_of_the_same_shapes_is_told_apart(
    gated: Callable[[Tensor], Tensor], packed: bool
) -> None:
    torch.manual_seed(0)
    dual = DualCopy(Choosing(gated).eval())
    images = torch.randn(8, 2, 8, 8)
    assert torch.equal(dual(images), dual.to_plain()(images))
    with torch.no_grad():
        dual.quantitative.first.bias.add_(9.0)
    with pytest.raises(GateMismatchError, match=r"recorded in layer 'ways\.0', asked for in layer 'ways\.1'"):
        dual(images, dual.gates(images) if packed else None)


def with_new_weights(dual: DualCopy) -> DualCopy:
    for layer in dual.quantitative.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight = nn.Parameter(layer.weight.detach().clone())
    return dual


def with_new_layers(dual: DualCopy) -> DualCopy:
    dual.quantitative = copy.deepcopy(dual.quantitative)
    return dual


@pytest.mark.parametrize("changed", [with_new_weights, with_new_layers, copy.deepcopy])
def test_another_way_is_told_apart_after_a_pass_with_other_weights(changed: Callable[[DualCopy], DualCopy]) -> None:
    torch.manual_seed(0)
    images = torch.randn(8, 2, 8, 8)
    dual = DualCopy(Choosing(F.relu).eval())
    dual(images)
    dual = changed(dual)
    dual(images)
    with torch.no_grad():
        dual.quantitative.first.bias.add_(9.0)
    with pytest.raises(GateMismatchError, match=r"recorded in layer 'ways\.0', asked for in layer 'ways\.1'"):
        dual(images)


def test_samples_that_go_another_way_are_not_cached_together() -> None:
    torch.manual_seed(0)
    dual = DualCopy(Choosing(F.relu).eval())
    images = torch.cat([torch.randn(8, 2, 8, 8), 9 * torch.randn(8, 2, 8, 8)])
    kept = GateCache().bind(dual, data="", samples=16)
    with pytest.raises(GateMismatchError, match="do without the gate cache"):
        for batch in torch.arange(16).split(8):
            kept.of(batch, images[batch])


def test_what_the_structure_does_not_have_counts_as_a_part_of_the_layer_around_it() -> None:
    """Such as adapters: the quantitative copy may be given layers that learn beside its own."""

    class Adapted(nn.Module):
        def __init__(self, base: nn.Module) -> None:
            super().__init__()
            self.base, self.more = base, nn.Conv2d(8, 8, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.more(x)

    torch.manual_seed(0)
    dual = DualCopy(Choosing(F.relu).eval())
    images = torch.randn(8, 2, 8, 8)
    before = dual(images)
    dual.quantitative.ways[0] = Adapted(dual.quantitative.ways[0])
    assert not torch.equal(dual(images), before)
    dual(images, dual.gates(images)).sum().backward()


class GeluInTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(F.relu(self.a(x)))
        return self.fc(F.gelu(x) if self.training else x)


def test_a_call_without_regimes_is_refused_in_the_quantitative_pass_too() -> None:
    dual, images = DualCopy(GeluInTraining()).eval(), torch.randn(8, 6)
    dual(images)
    with pytest.raises(UnsupportedActivationError, match=r"layer 'GeluInTraining' calls gelu"):
        dual.train()(images)


def test_a_mismatch_names_the_layer_that_asks() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.act, self.fc = nn.Linear(6, 6), Counted(), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.act(self.a(x)))

    dual, images = DualCopy(Net()), torch.randn(8, 6)
    dual.quantitative.act.times = 2
    with pytest.raises(GateMismatchError, match=r"layer 'act' asks for more than the 1 recorded gates"):
        dual(images)


class Counted(nn.Module):
    times = 1

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = F.relu(x)
        return x
