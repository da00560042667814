"""What would hide gates from the passes is refused by name, or is seen all the same."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from fedsq_flwr.gating import DualCopy, UnsupportedActivationError, check_affine
from tests.gating.gated_networks import perturb

IMAGES = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.function(self.conv(x)).mean((2, 3)))


def relu(x: Tensor) -> Tensor:
    return torch.relu(x)


with warnings.catch_warnings(action="ignore"):
    scripted_relu = torch.jit.script(relu)


class CallsScripted(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(scripted_relu(self.conv(x)).mean((2, 3)))


class HasCompiledMethod(Net):
    @torch.compile(backend="eager")
    def body(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x)).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x))


class OnSeveralDevices(nn.DataParallel):
    """As on a machine with two GPUs: each replica would run in a thread of its own."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.device_ids = [0, 1]


def calls_scripted_from_around() -> nn.Module:
    inner = scripted_relu

    class Inner(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(inner(self.conv(x)).mean((2, 3)))

    return Inner(F.relu)


HIDDEN: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "a compiled network": ("torch.compile", lambda: torch.compile(Net(F.relu), backend="eager")),
    "a compiled layer": (
        "'0' is compiled by torch.compile",
        lambda: nn.Sequential(torch.compile(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), backend="eager")),
    ),
    "a compiled function": ("torch.compile", lambda: Net(torch.compile(F.relu, backend="eager"))),
    "a compiled method": ("torch.compile", lambda: HasCompiledMethod(F.relu)),
    "a scripted function": ("'function', a function of torch.jit", lambda: Net(scripted_relu)),
    "a traced function": ("torch.jit", lambda: Net(torch.jit.trace(torch.relu, torch.zeros(2)))),
    "a scripted function of a module": ("'scripted_relu', a function of torch.jit", lambda: CallsScripted(F.relu)),
    "a scripted function from around": ("'inner', a function of torch.jit", calls_scripted_from_around),
    "a traced module": ("ScriptModule|TracedModule", lambda: torch.jit.trace(Net(F.relu), IMAGES)),
    "vmap": ("torch.vmap", lambda: Net(torch.vmap(F.relu))),
    "vmap over a pooling": ("torch.vmap", lambda: Net(torch.vmap(lambda x: F.max_pool2d(x, 2)))),
    "a layer without values": ("'0' is a LazyConv2d without values", lambda: nn.Sequential(nn.LazyConv2d(2, 1))),
    "replicas": ("OnSeveralDevices", lambda: OnSeveralDevices(Net(F.relu))),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", HIDDEN)
def test_what_hides_gates_is_refused_by_name(case: str) -> None:
    message, build = HIDDEN[case]
    for use in (lambda dual: dual(IMAGES), lambda dual: dual.gates(IMAGES), lambda dual: check_affine(dual, IMAGES)):
        with pytest.raises(UnsupportedActivationError, match=f"^layer .*{message}") as caught:
            use(DualCopy(build().eval()))
        assert "\n" not in str(caught.value)


def with_hooks() -> nn.Module:
    network = Net(F.relu)
    network.conv.register_forward_hook(lambda module, args, output: output * 2)
    network.fc.register_forward_pre_hook(lambda module, args: (F.relu(args[0] - 0.1),))
    network.conv.register_full_backward_hook(lambda module, incoming, outgoing: None)
    return network


def compiled_in_place() -> nn.Module:
    network = Net(F.relu)
    network.conv.compile(backend="eager")
    network.compile(backend="eager")
    return network


SEEN: dict[str, Callable[[], nn.Module]] = {
    "hooks": with_hooks,
    "a compiled function without gates": lambda: Net(torch.compile(lambda x: x * 2 + 1, backend="eager")),
    "module.compile()": compiled_in_place,
    "a wrapper for one device": lambda: nn.DataParallel(Net(F.relu)),
    "a function that is not compiled": lambda: Net(torch.compiler.disable(F.relu)),
    "a graph module": lambda: torch.fx.symbolic_trace(Net(F.relu)),
    "an autocast region": lambda: Net(torch.autocast("cpu", torch.bfloat16)(lambda x: F.relu(x @ x.mT).float())),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", SEEN)
def test_what_hides_no_gate_equals_the_plain_network_to_the_bit(case: str) -> None:
    torch.manual_seed(0)
    network = SEEN[case]().eval()
    dual = DualCopy(network)
    plain = network(IMAGES)
    plain.float().sum().backward()
    for gates in (None, dual.gates(IMAGES)):
        dual.zero_grad()
        output = dual(IMAGES, gates)
        assert torch.equal(output, plain)
        output.float().sum().backward()
        for own, other in zip(dual.parameters(), network.parameters(), strict=True):
            assert torch.equal(own.grad, other.grad)


def test_activations_that_a_module_holds_do_not_stand_in_the_way() -> None:
    network = Net(F.relu)
    network.last = network(IMAGES)
    dual = DualCopy(network)
    dual.quantitative.last = dual(IMAGES)
    assert not dual.to_plain().last.requires_grad
    dual.refresh_structure()
    assert torch.equal(dual(IMAGES), network(IMAGES))


def test_a_pruned_layer_keeps_its_mask_and_its_fingerprint_over_passes_and_structures() -> None:
    """Its weight is a result that a hook sets before each pass."""
    torch.manual_seed(0)
    network = Net(F.relu)
    prune.random_unstructured(network.conv, "weight", 0.5)
    network(IMAGES)
    server, silo = DualCopy(network.eval()), DualCopy(network)
    before = server.fingerprint
    assert torch.equal(server(IMAGES), network(IMAGES))
    perturb(server.quantitative)
    server(IMAGES).sum().backward()
    assert server.fingerprint == before
    server.refresh_structure()
    silo.load_structural_state(server.structural_state())
    assert silo.fingerprint == server.fingerprint != before
    assert torch.equal(silo.gates(IMAGES).rows, server.gates(IMAGES).rows)
    assert torch.equal(server(IMAGES), server.to_plain()(IMAGES))


class Clamped(torch.autograd.Function):
    """A ReLU with a backward pass of its own, which looks at the signs of its own input."""

    @staticmethod
    def forward(ctx, value):
        ctx.save_for_backward(value)
        return value.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (value,) = ctx.saved_tensors
        return gradient * (value > 0)


class Around(torch.autograd.Function):
    """A function of the user's around a dual copy."""

    @staticmethod
    def forward(ctx, value, dual):
        return dual(value)


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.fc = nn.Linear(6, 6), Applied(), nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.act(self.a(x)))


class Applied(nn.Module):
    def forward(self, x):
        return Clamped.apply(x)


def test_a_gate_within_a_function_with_its_own_backward_is_refused() -> None:
    """Its backward pass would have the network's own signs."""
    images = torch.randn(8, 6)
    with pytest.raises(UnsupportedActivationError, match=r"layer 'act' takes a gate within an autograd\.Function"):
        DualCopy(Custom())(images)
    with pytest.raises(UnsupportedActivationError, match="layer 'act' takes a gate"):
        check_affine(DualCopy(Custom()), images)
    dual = DualCopy(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)))
    assert torch.equal(Around.apply(images, dual), dual(images))
