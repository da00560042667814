"""Activations with other regimes than a ReLU's: their tables, their bits, and what moves within a fixed regime."""

import hashlib
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, GateCache, GateMismatchError, check_affine, fixed_gates, flip_rate, gate_flips
from fedsq_flwr.gating.packed.calls import ActivationGate, PackedActivation
from fedsq_flwr.gating.packed.layout import ActivationLayout
from fedsq_flwr.gating.packed.regimes import RELU, Regimes
from tests.gating.gated_networks import BUILDERS, Images, batch_for, build, perturb, same_bits

HARDTANH = Regimes((1.0, 0.0, 0.0), (0.0, -1.0, 2.0))
Z = torch.tensor([[-3.0, -1.0, 0.0, 1.5, 2.0, 9.0]])

#: Activations that bend at -1, 0 or 2: `Z` has these points.
BENDING: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": lambda z: F.relu6(3 * z),
    "hardtanh": lambda z: F.hardtanh(z, -1, 2),
    "hardtanh without a slope": lambda z: F.hardtanh(z, 2, 2),
    "clamp": lambda z: z.clamp(-1, 2),
    "clamp_": lambda z: (z * 1).clamp_(-1, 2),
    "clip": lambda z: torch.clip(z, -1, 2),
    "clamp, low alone": lambda z: z.clamp(min=-1),
    "clamp_max": lambda z: z.clamp_max(2),
    "clamp, a tensor below": lambda z: z.clamp(min=torch.tensor(-1.0)),
    "clamp_max, a tensor": lambda z: torch.clamp_max(z, torch.full_like(z, 2.0)),
    "leaky_relu": lambda z: F.leaky_relu(z, 0.5),
    "threshold": lambda z: F.threshold(z, 2.0, 7.0),
    "abs": torch.abs,
    "maximum": lambda z: torch.maximum(z, torch.tensor(-1.0)),
    "minimum": lambda z: torch.minimum(torch.full_like(z, 2.0), z),
    "fmax": lambda z: torch.fmax(z, torch.tensor(-1.0)),
    "fmax, constant first": lambda z: torch.fmax(torch.full_like(z, -1.0), z),
    "fmin": lambda z: torch.fmin(z, torch.tensor(2.0)),
    "fmin, constant first": lambda z: torch.fmin(torch.full_like(z, 2.0), z),
    "softshrink": lambda z: F.softshrink(z, 1.0),
    "hardshrink": lambda z: F.hardshrink(z, 1.0),
    "hardsigmoid": lambda z: F.hardsigmoid(3 * z),
}


class Calling(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor], inputs: int = 6) -> None:
        super().__init__()
        self.function = function
        self.before, self.fc = nn.Linear(inputs, inputs, bias=False), nn.Linear(inputs, 3)
        nn.init.eye_(self.before.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.function(self.before(x)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", BENDING)
def test_the_derivative_at_a_bend_is_torchs_own(name: str, packed: bool) -> None:
    """Images with a background of one value meet bends in most of their pixels."""
    network = Calling(BENDING[name])
    dual = DualCopy(network)
    images = Z.expand(8, 6).clone().requires_grad_()
    (expected,) = torch.autograd.grad(network(images).sum(), images)
    gates = dual.gates(images.detach()) if packed else None
    (found,) = torch.autograd.grad(dual(images, gates).sum(), images)
    assert same_bits(found, expected)


def test_between_two_tensors_a_bend_has_no_slope() -> None:
    """Torch gives half of it, at two bends: more regimes than two bits can hold."""
    images = Z.expand(8, 6).clone().requires_grad_()
    dual = DualCopy(Calling(lambda z: z.clamp(torch.tensor(-1.0), torch.tensor(2.0))))
    dual.quantitative.fc.weight.data.fill_(1.0)
    (found,) = torch.autograd.grad(dual(images)[:, 0].sum(), images)
    assert found[0].tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("packed", [False, True])
def test_a_slope_of_one_is_kept_in_place_too(packed: bool) -> None:
    network = Calling(nn.LeakyReLU(1.0, inplace=True)).eval()
    dual, images = DualCopy(network), torch.randn(8, 6)
    assert same_bits(dual(images, dual.gates(images) if packed else None), network(images))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_an_element_gets_slope_and_offset_of_its_regime(packed: bool, in_place: bool, channels_last: bool) -> None:
    order = torch.channels_last if channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    marks = torch.randint(-1, 2, (4, 3, 5, 7), generator=generator, dtype=torch.int8).contiguous(memory_format=order)
    values = torch.randn(4, 3, 5, 7, generator=generator).contiguous(memory_format=order)
    values[0] *= float("inf")
    layout = ActivationLayout.of(values, regimes=HARDTANH)
    gate = ActivationGate(marks, None, regimes=HARDTANH)
    if packed:
        gate = PackedActivation(layout, layout.pack(marks))
    expected = torch.where(marks > 0, values, torch.where(marks == 0, -1.0, 2.0))
    given = values.clone()
    found = gate.apply(given, in_place=in_place)
    assert same_bits(found, expected)
    assert (found is given) is in_place
    assert same_bits(given, expected if in_place else values)


@pytest.mark.parametrize(
    ("activation", "bits"), [(nn.ReLU(), 1), (nn.LeakyReLU(), 1), (nn.PReLU(), 1), (nn.ReLU6(), 2)]
)
def test_two_regimes_take_one_bit_and_three_take_two(activation: nn.Module, bits: int) -> None:
    gates = DualCopy(Calling(activation, inputs=64)).gates(torch.randn(8, 64))
    assert gates.rows.shape == (8, 64 * bits / 8)


def test_rows_and_fingerprints_of_relu_networks_are_those_of_earlier_versions() -> None:
    """A cache on disk that was written before other activations had gates is read as it is."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 4), nn.ReLU(), nn.Linear(4, 3)
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            values = (torch.arange(parameter.numel()) * 7) % 11 - 5
            parameter.copy_(values.view(parameter.shape) / 4)
    images = ((torch.arange(8 * 64) * 5 % 13) - 6.0).view(8, 1, 8, 8)
    dual = DualCopy(network)
    rows = dual.gates(images).rows
    assert dual.fingerprint == "75629084af66e5943a4c99c36c7119ace55dd7956aebd31833173e0fb01769c3"
    assert bytes(rows[3].tolist()).hex() == "ffff05faff807e01ff17e0ffe118b40d23000000ffffff4f"
    digest = hashlib.sha256(rows.numpy().tobytes()).hexdigest()
    assert digest == "ceb6113abe5850613ea9e9b774cb7cb0c42959a206f985ee3783814e2efae56c"


def test_a_saturated_element_stays_so_and_its_layer_gets_no_gradient_there() -> None:
    dual = DualCopy(Calling(F.relu6))
    images = torch.tensor([[-1.0, 1.0, 2.0, 5.0, 7.0, 8.0]]).expand(8, 6)
    with torch.no_grad():
        dual.quantitative.before.weight.mul_(-10)
        dual.quantitative.fc.weight.copy_(torch.ones(3, 6))
        dual.quantitative.fc.bias.zero_()
    logits = dual(images)
    assert logits[0, 0].item() == -10 * (1 + 2 + 5) + 6 + 6
    logits[:, 0].sum().backward()
    moved = dual.quantitative.before.weight.grad.any(1)
    assert moved.tolist() == [False, True, True, True, False, False]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(), (8,)])
def test_the_slope_of_a_prelu_learns_within_its_regime(packed: bool, shape: tuple[int, ...]) -> None:
    network = Images(nn.PReLU(*shape)).eval().double()
    images = batch_for(network)[0].double()
    dual = DualCopy(network)
    with torch.no_grad():
        dual.quantitative.first.weight.neg_()  # now few of its own signs are those of the structural copy
    gate = dual.calls(images)[0][0]
    z = dual.quantitative.norm(dual.quantitative.first(images)).detach()
    slope = dual.quantitative.between.weight
    layout = ActivationLayout.of(z, regimes=gate.regimes)
    used = PackedActivation(layout, layout.pack(gate.source)) if packed else gate

    def run(z: Tensor, weight: Tensor) -> Tensor:
        return used.apply(z, in_place=False, slope=weight.view(1, -1, 1, 1))

    is_open, per_channel = gate.source > 0, slope.detach().view(1, -1, 1, 1)
    assert same_bits(run(z, slope.detach()), torch.where(is_open, z, z * per_channel))
    few = z[:2, :, :3, :3]
    layout = ActivationLayout.of(few, regimes=gate.regimes)
    marks = gate.source[:2, :, :3, :3]
    used = (
        PackedActivation(layout, layout.pack(marks)) if packed else ActivationGate(marks, None, regimes=gate.regimes)
    )
    inputs = few.clone().requires_grad_(), slope
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_a_bound_that_is_another_number_in_the_quantitative_pass_is_refused() -> None:
    images = torch.randn(8, 6)
    dual = DualCopy(Calling(lambda x: torch.maximum(x, x.detach().mean())))
    assert dual(images).shape == (8, 3)
    with torch.no_grad():
        dual.quantitative.before.weight.mul_(2)
    with pytest.raises(
        GateMismatchError, match=r"^gate 0: recorded for another .* layer 'Calling': Regimes\(.*, not Regimes\("
    ):
        dual(images)


def test_a_bound_that_becomes_another_activation_is_refused() -> None:
    images = torch.randn(8, 6)
    with pytest.raises(GateMismatchError, match=r"^gate 0: the activation in layer 'Calling' is no longer piecewise"):
        DualCopy(Calling(lambda x: torch.maximum(x, x.mean())))(images)


def test_gates_of_an_activation_with_another_bound_are_refused() -> None:
    images = torch.randn(8, 6)
    gates = DualCopy(Calling(nn.ReLU6())).gates(images)
    with pytest.raises(GateMismatchError, match=r"^gate 0: recorded for another .* layer 'function': Regimes"):
        DualCopy(Calling(nn.Hardtanh(0, 5)))(images, gates)


def test_a_bound_that_depends_on_the_images_is_refused_by_the_cache_and_by_the_probe() -> None:
    dual = DualCopy(Calling(lambda x: torch.maximum(x, x.detach().mean())))
    images = torch.randn(16, 6)
    bound = GateCache().bind(dual, data="", samples=16)
    with pytest.raises(GateMismatchError):
        for some in (torch.arange(8), torch.arange(4, 12)):
            bound.of(some, images[some])
    with pytest.raises(ValueError, match="Calling"):
        check_affine(dual, images)


def test_fingerprints_tell_bounds_and_slopes_apart() -> None:
    torch.manual_seed(0)
    network = Calling(nn.ReLU())
    seen = set()
    for activation in (
        nn.ReLU(), nn.ReLU6(), nn.Hardtanh(0, 5), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), nn.PReLU(),
        nn.PReLU(init=0.5), nn.Threshold(0.1, 0), nn.Threshold(0.1, 1), nn.Hardshrink(0.1), nn.Hardshrink(0.2),
        nn.Hardsigmoid(),
    ):  # fmt: skip
        network.function = activation
        seen.add(DualCopy(network).fingerprint)
    assert len(seen) == 12


def test_a_saturation_that_is_lost_is_a_flip() -> None:
    dual = DualCopy(Calling(nn.ReLU6()))
    images = torch.tensor([[-1.0, 1.0, 2.0, 5.0, 7.0, 8.0]]).expand(8, 6)
    fixed = fixed_gates(dual, images)
    with torch.no_grad():
        dual.quantitative.before.weight.mul_(-1)
    (layer,) = gate_flips(dual, images, fixed)
    assert flip_rate([layer]) == 1
    assert (layer.density, layer.own_density) == (3 / 6, 1 / 6)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name.startswith("activation: ")])
def test_with_fixed_regimes_a_network_is_affine(name: str) -> None:
    network = build(name)
    dual = DualCopy(network)
    perturb(dual.quantitative)
    check_affine(dual, batch_for(network)[0])


def test_the_table_of_a_relu_needs_no_arithmetic() -> None:
    value = torch.randn(3)
    ((regime, passed),) = RELU.values(value, None)
    assert regime == 0
    assert passed is value
