"""No gate may depend on what the fingerprint leaves out: the head is found by what the pass does, or refused."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fedsq_flwr.gating import DualCopy, GateCache, UnsupportedActivationError, check_affine

VECTORS = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
Forward = Callable[[nn.Module, Tensor], Tensor]


class Net(nn.Module):
    """Layers by name, in the order of their registration, and what the forward pass makes of them."""

    def __init__(self, forward: Forward, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.go = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.go(self, x)


class OwnLinear(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


def net(forward: Forward, order: str = "a b fc", **more: nn.Module) -> Net:
    torch.manual_seed(0)
    sizes = {"a": (12, 8), "b": (8, 6), "fc": (6, 3), "more": (6, 4)}
    return Net(forward, **{name: nn.Linear(*sizes[name]) for name in order.split()}, **more).eval()


def body(n: nn.Module, x: Tensor) -> Tensor:
    return F.relu(n.b(F.relu(n.a(x))))


def write_into_a_slice(n: nn.Module, x: Tensor) -> Tensor:
    x = F.relu(n.a(x)).clone()
    x[:, :6] = n.fc.weight.sum(0)
    return n.fc(F.relu(n.b(x)))


def write_through_a_view(n: nn.Module, x: Tensor) -> Tensor:
    x = n.a(x)
    x[:, :6].add_(n.fc.weight.sum(0))
    return n.fc(F.relu(n.b(F.relu(x))))


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))


#: Networks whose gates depend on a layer that is taken for the head, or is named so.
WRONG_HEADS: dict[str, tuple[Callable[[], Net], str | None]] = {
    "registered first": (lambda: net(lambda n, x: n.fc(body(n, x)), "fc a b"), None),
    "a layer of its own": (lambda: net(lambda n, x: n.own(body(n, x)), "a b", own=OwnLinear(6, 3)), None),
    "a product of matrices": (
        lambda: net(lambda n, x: body(n, x) @ n.own.weight.T, "a b", own=OwnLinear(6, 3)),
        None,
    ),
    "a convolution": (
        lambda: net(
            lambda n, x: n.last(F.relu(n.conv(n.a(x)[:, None]))).flatten(1),
            "a",
            conv=nn.Conv1d(1, 4, 1),
            last=nn.Conv1d(4, 1, 8),
        ),
        None,
    ),
    "named wrongly": (lambda: net(lambda n, x: n.fc(body(n, x))), "a"),
    "gates within it": (lambda: net(lambda n, x: n.mlp(body(n, x)), "a b", mlp=mlp()), "mlp"),
    "a ReLU on the logits": (lambda: net(lambda n, x: F.relu(n.fc(body(n, x)))), None),
    "a pooling of the logits": (
        lambda: net(lambda n, x: F.max_pool1d(n.fc(body(n, x))[:, None], 3).flatten(1)),
        None,
    ),
    "its weight is used before": (lambda: net(lambda n, x: n.fc(F.relu(body(n, x) + n.fc.weight.sum(0)))), None),
    "its detached weight": (lambda: net(lambda n, x: n.fc(F.relu(body(n, x) + n.fc.weight.detach().sum(0)))), None),
    "its .data": (lambda: net(lambda n, x: n.fc(F.relu(body(n, x) + n.fc.weight.data.sum(0)))), None),
    "a number read from it": (
        lambda: net(lambda n, x: n.fc(F.relu(body(n, x) * float(n.fc.weight.detach().sum())))),
        None,
    ),
    "all parameters": (
        lambda: net(lambda n, x: n.fc(F.relu(body(n, x) + sum(p.sum() for p in n.parameters())))),
        None,
    ),
    "its state_dict()": (
        lambda: net(lambda n, x: n.fc(F.relu(body(n, x) + n.state_dict()["fc.weight"].sum(0)))),
        None,
    ),
    "written into a slice": (lambda: net(write_into_a_slice), None),
    "written through a view": (lambda: net(write_through_a_view), None),
    "used before, named": (lambda: net(lambda n, x: n.fc(F.relu(body(n, x) + n.fc.weight.sum(0)))), "fc"),
}


@pytest.mark.parametrize("case", WRONG_HEADS)
def test_gates_that_depend_on_the_head_are_refused_before_anything_is_kept_under_the_fingerprint(case: str) -> None:
    build, head = WRONG_HEADS[case]
    for use in (
        lambda dual: (check_affine(dual, VECTORS), dual.fingerprint),
        lambda dual: (dual(VECTORS), dual.fingerprint),
        lambda dual: (dual.gates(VECTORS), dual.fingerprint),
        lambda dual: GateCache().bind(dual, data="", samples=16).of(torch.arange(16), VECTORS),
    ):
        with pytest.raises(UnsupportedActivationError, match="head") as caught:
            use(DualCopy(build(), head=head))
        assert "\n" not in str(caught.value)


ERRORS: dict[str, tuple[str, str | None, str]] = {
    "a b fc more": (
        "a b fc more",
        None,
        "'more', the last linear layer that Net registers, is not its head: the forward pass ends with 'fc'",
    ),
    "fc a b": (
        "fc a b",
        None,
        "'b', the last linear layer that Net registers, is not its head: the forward pass ends with 'fc'",
    ),
    "named and not used": ("a b fc more", "more", "head='more': the output does not depend on it"),
    "named": ("a b fc", "b", "head='b': the gates of layer 'Net' depend on it"),
}


def test_a_linear_layer_after_the_head_is_told_where_no_gate_is_between() -> None:
    dual = DualCopy(net(lambda n, x: n.more(n.b(F.relu(n.a(x)))), "a more b"))
    with pytest.raises(
        UnsupportedActivationError, match=r"'b', .* is not its head: the forward pass ends with 'more'"
    ):
        dual(VECTORS)


@pytest.mark.parametrize("case", ERRORS)
def test_the_error_says_what_is_wrong_with_which_layer(case: str) -> None:
    order, head, message = ERRORS[case]
    with pytest.raises(UnsupportedActivationError) as caught:
        DualCopy(net(lambda n, x: n.fc(body(n, x)), order), head=head)(VECTORS)
    assert str(caught.value) == f"{message}; name the head by `head=`"


def test_the_check_of_the_head_leaves_the_structure_as_it_is() -> None:
    dual = DualCopy(net(lambda n, x: n.fc(body(n, x))))
    state = {name: (tensor, tensor.clone()) for name, tensor in dual.structural.state_dict(keep_vars=True).items()}
    dual(VECTORS)
    for name, tensor in dual.structural.state_dict(keep_vars=True).items():
        assert tensor is state[name][0]
        assert torch.equal(tensor, state[name][1])


def test_a_network_that_has_diverged_is_no_fault_of_its_head() -> None:
    network = net(lambda n, x: n.fc(body(n, x)))
    torch.nn.init.constant_(network.a.weight, torch.nan)
    assert DualCopy(network)(VECTORS).isnan().all()


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def with_tied_head() -> Net:
    network = net(
        lambda n, x: n.last(F.relu(n.square(F.relu(n.a(x))))), "a", square=nn.Linear(8, 8), last=nn.Linear(8, 8)
    )
    network.last.weight = network.square.weight
    return network


def with_parametrised_layers() -> Net:
    network = net(lambda n, x: n.fc(body(n, x)))
    for layer in (network.a, network.fc):
        parametrize.register_parametrization(layer, "weight", Doubled())
    return network


def with_one_layer_twice() -> Net:
    square = nn.Linear(8, 8)
    return net(lambda n, x: n.fc2(F.relu(n.square(F.relu(n.a(x))))), "a", fc2=square, square=square)


RIGHT_HEADS: dict[str, tuple[Callable[[], Net], str | None]] = {
    "registered last": (lambda: net(lambda n, x: n.fc(body(n, x))), None),
    "registered first, named": (lambda: net(lambda n, x: n.fc(body(n, x)), "fc a b"), "fc"),
    "a layer of its own, named": (lambda: net(lambda n, x: n.own(body(n, x)), "a b", own=OwnLinear(6, 3)), "own"),
    "another layer without use, named": (lambda: net(lambda n, x: n.fc(body(n, x)), "a b fc more"), "fc"),
    "the last of several layers": (lambda: net(lambda n, x: n.mlp(body(n, x)), "a b", mlp=mlp()), None),
    "used beside the body too": (lambda: net(lambda n, x: n.fc(n.a(x)[:, :6]) + n.fc(body(n, x))), None),
    "asked for its dtype and shape": (
        lambda: net(lambda n, x: n.fc(body(n, x.to(n.fc.weight) * n.fc.weight.shape[0] + n.fc.weight.new_zeros(1)))),
        None,
    ),
    "listed in state_dict()": (lambda: net(lambda n, x: n.fc(F.relu(body(n, x) + n.state_dict()["b.bias"]))), None),
    "a number read at the end": (
        lambda: net(lambda n, x: n.fc(body(n, x)) * float(n.fc.weight.detach().sum())),
        None,
    ),
    "tied to the body": (with_tied_head, None),
    "parametrised": (with_parametrised_layers, None),
    "a layer of the body under a second name": (with_one_layer_twice, "fc2"),
}


@pytest.mark.parametrize("case", RIGHT_HEADS)
def test_structures_with_one_fingerprint_have_the_same_gates(case: str) -> None:
    build, head = RIGHT_HEADS[case]
    network = build()
    dual = DualCopy(network, head=head)
    check_affine(dual, VECTORS)
    gates = dual.gates(VECTORS)
    for name, _ in network.named_parameters():
        other = copy.deepcopy(network)
        torch.nn.init.normal_(other.get_parameter(name), std=5.0)
        moved = DualCopy(other, head=head)
        if not torch.equal(moved.gates(VECTORS).rows, gates.rows):
            assert moved.fingerprint != dual.fingerprint, name


@pytest.mark.parametrize("case", ["registered last", "registered first, named", "parametrised"])
def test_heads_may_differ(case: str) -> None:
    build, head = RIGHT_HEADS[case]
    network, other = build(), build()
    torch.nn.init.normal_(next(other.fc.parameters()))
    assert DualCopy(network, head=head).fingerprint == DualCopy(other, head=head).fingerprint


def test_what_begins_a_head_of_several_layers_is_covered() -> None:
    """A pooling has no parameters: it is no part of what may differ."""
    networks = [
        net(
            lambda n, x: n.h(F.relu(n.a(x))[:, None]),
            "a",
            h=nn.Sequential(nn.MaxPool1d(size), nn.Flatten(), nn.LazyLinear(3)),
        )
        for size in (2, 4)
    ]
    for network in networks:
        network(VECTORS)
    one, other = (DualCopy(network, head="h").fingerprint for network in networks)
    assert one != other
