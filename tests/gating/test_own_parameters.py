"""A network that asks for its own parameters gets them in both passes: frozen ones in the structural pass."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.utils import parameters_to_vector, parametrize

from fedsq_flwr.gating import DualCopy, GateCache, UnsupportedActivationError, check_affine
from tests.gating.gated_networks import perturb, same_bits

IMAGES = torch.randn(9, 1, 9, 9, generator=torch.Generator().manual_seed(0))


class Asking(nn.Module):
    """A convolution, then what ``ask`` makes of it and of the network, then a ReLU."""

    def __init__(self, ask: Callable[["Asking", Tensor], Tensor]) -> None:
        super().__init__()
        self.register_buffer("shift", torch.full((4, 1, 1), 0.3))
        self.conv, self.mix = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1, bias=False)
        self.gains = nn.ParameterList([torch.randn(4, 1, 1) for _ in range(3)])
        self.named = nn.ParameterDict({"a": torch.randn(4, 1, 1), "b": torch.randn(4, 1, 1)})
        self.bias = nn.Parameter(torch.randn(4, 1, 1))
        self.tied = nn.Conv2d(4, 4, 1, bias=False)
        self.tied.weight = self.mix.weight
        self.fc = nn.Linear(4, 2)
        self.ask = ask

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.ask(self, self.conv(x))).mean((2, 3)))


def total(tensors: object) -> Tensor:
    return sum(tensor.sum() for tensor in tensors)


def shifted_by_name(network: Asking, x: Tensor) -> Tensor:
    for name, parameter in network.named_parameters():
        if name.startswith("gains."):
            x = x + parameter
    return x


def with_centred_weight(network: Asking, x: Tensor) -> Tensor:
    (weight,) = network.mix.parameters()
    return F.conv2d(x, weight - weight.mean((1, 2, 3), keepdim=True))


def with_doubled_weights(network: Asking, x: Tensor) -> Tensor:
    return functional_call(network.mix, {name: 2 * p for name, p in network.mix.named_parameters()}, (x,))


def ensemble(network: Asking, x: Tensor) -> Tensor:
    parameters, buffers = stack_module_state([network.mix, network.tied])
    return torch.vmap(lambda p, b: functional_call(network.mix, (p, b), (x,)))(parameters, buffers).sum(0)


ASKING: dict[str, Callable[[Asking, Tensor], Tensor]] = {
    "next(parameters()).dtype": lambda n, x: x.to(next(n.parameters()).dtype),
    "next(parameters()).device": lambda n, x: x.to(next(n.parameters()).device),
    "a device property": lambda n, x: x.to(n.device),
    "new_zeros": lambda n, x: x + next(n.parameters()).new_zeros(1),
    "a parameter list's parameters()": lambda n, x: x + sum(n.gains.parameters()),
    "a parameter list": lambda n, x: x + sum(n.gains),
    "a parameter dict's values()": lambda n, x: x + sum(n.named.values()),
    "a parameter dict's parameters()": lambda n, x: x + sum(n.named.parameters()),
    "named_parameters()": shifted_by_name,
    "state_dict()": lambda n, x: x + sum(v for k, v in n.state_dict().items() if k.startswith("gains")),
    "_parameters": lambda n, x: x + sum(n._parameters.values()),
    "get_parameter": lambda n, x: x + n.get_parameter("bias"),
    "isinstance": lambda n, x: x + n.bias * isinstance(n.bias, nn.Parameter),
    "weight standardisation": with_centred_weight,
    "how many there are": lambda n, x: x * len(list(n.parameters())),
    "how many a submodule has": lambda n, x: x * sum(p.numel() for p in n.mix.parameters()),
    "tied ones, once": lambda n, x: x + total({*n.mix.parameters(), *n.tied.parameters()}),
    "buffers()": lambda n, x: x + sum(n.buffers()),
    "how many buffers": lambda n, x: x * len(dict(n.named_buffers())),
    "functional_call": with_doubled_weights,
    "stack_module_state and vmap": ensemble,
    "parameters_to_vector": lambda n, x: x + parameters_to_vector(n.gains.parameters()).sum(),
    "children": lambda n, x: x + total(p for child in n.children() if child is not n.fc for p in child.parameters()),
}


def build(name: str) -> Asking:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Asking(ASKING[name]).eval()


def step(model: nn.Module, network: nn.Module, **options: object) -> tuple[Tensor, dict[str, Tensor]]:
    network.zero_grad()
    logits = model(IMAGES, **options)
    F.cross_entropy(logits, torch.arange(9) % 2).backward()
    return logits, {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ASKING)
def test_at_the_start_output_and_gradients_are_the_plain_networks_to_the_bit(name: str) -> None:
    network = build(name)
    dual = DualCopy(network)
    logits, gradients = step(network, network)
    kept = GateCache().bind(dual, data="", samples=9).of(torch.arange(9), IMAGES)
    for gates in (None, dual.gates(IMAGES), kept):
        dual_logits, dual_gradients = step(dual, dual.quantitative, gates=gates)
        assert same_bits(logits, dual_logits)
        assert gradients.keys() == dual_gradients.keys()
        assert all(same_bits(gradients[key], dual_gradients[key]) for key in gradients)


@pytest.mark.parametrize("name", ASKING)
def test_the_probe_passes(name: str) -> None:
    check_affine(DualCopy(build(name)), IMAGES)


@pytest.mark.parametrize("name", ["a parameter list's parameters()", "state_dict()", "functional_call"])
def test_gates_stay_those_of_the_frozen_parameters(name: str) -> None:
    dual = DualCopy(build(name))
    before = dual.gates(IMAGES)
    perturb(dual.quantitative)
    assert torch.equal(dual.gates(IMAGES).rows, before.rows)


@pytest.mark.parametrize("name", ASKING)
def test_between_passes_the_structural_copy_has_no_parameters(name: str) -> None:
    dual = DualCopy(build(name))
    expected = [id(parameter) for parameter in dual.quantitative.parameters()]
    state = {key: tensor.clone() for key, tensor in dual.structural.state_dict().items()}
    for run in (dual, dual.gates):
        run(IMAGES)
        assert list(dual.structural.parameters()) == []
        assert [id(parameter) for parameter in dual.parameters()] == expected
        assert [id(parameter) for parameter in nn.Sequential(dual).parameters()] == expected
        assert all(same_bits(state[key], tensor) for key, tensor in dual.structural.state_dict().items())


def test_within_the_structural_pass_its_parameters_are_frozen() -> None:
    seen: list[tuple[int, bool, bool]] = []

    def look(network: Asking, x: Tensor) -> Tensor:
        learning = any(parameter.requires_grad for parameter in network.parameters())
        seen.append((len(list(network.parameters())), learning, torch.is_grad_enabled()))
        return x

    dual = DualCopy(Asking(look))
    count = len(list(dual.parameters()))
    dual.gates(IMAGES)  # the first pass also looks where the head is
    seen.clear()
    dual(IMAGES)
    assert seen == [(count, False, False), (count, True, True)]


def test_after_a_pass_that_failed_the_structural_copy_has_no_parameters() -> None:
    dual = DualCopy(Asking(lambda n, x: F.gelu(x)))
    with pytest.raises(UnsupportedActivationError):
        dual(IMAGES)
    assert list(dual.structural.parameters()) == []


class Counting(nn.Module):
    """Adds the sum of its parameters, tied ones once; can be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)
        self.b.weight = self.a.weight
        self.gain = nn.Parameter(torch.ones(5))
        self.fc = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(next(self.parameters()).dtype)
        body = total(p for name, p in self.named_parameters() if not name.startswith("fc"))
        return self.fc(F.relu(self.b(F.relu(self.a(x) + body)) * self.gain))


VECTORS = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))


def assigned(dual: DualCopy) -> DualCopy:
    other = DualCopy(Counting().eval())
    other.load_state_dict(dual.state_dict(), assign=True)
    return other


def refreshed(dual: DualCopy) -> DualCopy:
    dual.refresh_structure()
    return dual


CHANGES: dict[str, Callable[[DualCopy], DualCopy]] = {
    "copied": copy.deepcopy,
    "pickled": lambda dual: pickle.loads(pickle.dumps(dual)),  # noqa: S301
    "in double precision": lambda dual: dual.double(),
    "in half precision and back": lambda dual: dual.half().float(),
    "loaded": assigned,
    "refreshed": refreshed,
    "learning switched on": lambda dual: dual.requires_grad_(True),
    "structural copy converted by itself": lambda dual: (
        dual.structural.double() and dual.quantitative.double() and dual
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_dual_copy_that_is_changed_still_equals_its_plain_network(change: str) -> None:
    torch.manual_seed(0)
    dual = CHANGES[change](DualCopy(Counting().eval()))
    plain = dual.to_plain()
    for _ in range(2):
        assert same_bits(dual(VECTORS), plain(VECTORS))
        assert list(dual.structural.parameters()) == []
    assert len(list(dual.parameters())) == len(list(plain.parameters()))
    assert all(parameter.requires_grad for parameter in dual.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tied_tensors_stay_tied_in_another_precision(dtype: torch.dtype) -> None:
    dual = DualCopy(Counting()).to(dtype)
    assert dual.structural.a.weight is dual.structural.b.weight
    assert dual.structural.a.weight.dtype == dtype


def test_a_parametrised_weight_is_seen_in_both_passes() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    network = build("how many there are")
    parametrize.register_parametrization(network.conv, "weight", Doubled())
    dual = DualCopy(network)
    logits, gradients = step(network, network)
    dual_logits, dual_gradients = step(dual, dual.quantitative)
    assert same_bits(logits, dual_logits)
    assert all(same_bits(gradients[key], dual_gradients[key]) for key in gradients)
    check_affine(dual, IMAGES)


def test_threads_may_pass_through_one_dual_copy_at_once() -> None:
    dual = DualCopy(build("named_parameters()"))
    expected = dual(IMAGES)
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda _: dual(IMAGES), range(40)))
    assert all(torch.equal(output, expected) for output in outputs)
    assert list(dual.structural.parameters()) == []


def test_a_parameter_of_another_network_is_refused_but_its_device_may_be_asked_for() -> None:
    other = nn.Linear(4, 4)
    DualCopy(Asking(lambda n, x: x.to(other.weight.device)).eval())(IMAGES)
    with pytest.raises(UnsupportedActivationError, match=r"^layer 'Asking' uses a parameter that is not registered"):
        DualCopy(Asking(lambda n, x: x + other.weight.sum()).eval())(IMAGES)


def test_a_layer_that_is_not_registered_is_refused() -> None:
    network = Asking(lambda n, x: n.hidden[0](x)).eval()
    network.hidden = [nn.Conv2d(4, 4, 1)]  # torch finds no module in a list
    for run in (lambda dual: dual(IMAGES), lambda dual: check_affine(dual, IMAGES)):
        with pytest.raises(UnsupportedActivationError, match="not registered"):
            run(DualCopy(network))
