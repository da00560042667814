"""The probe finds what no list of refused calls knows, names the layer, and takes what fixed gates make affine."""

import random
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torchvision.ops.misc import FrozenBatchNorm2d

from fedsq_flwr.gating import DualCopy, UnsupportedActivationError, check_affine
from tests.gating.gated_networks import BUILDERS, batch_for, build, perturb, same_bits

IMAGES = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Layers draw their weights from the global generator: with closed gates alone, a product would be affine."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Calling(nn.Module):
    """Calls ``function`` between two convolutions that it holds."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.function(self.before(x)))


def around(layer: nn.Module) -> DualCopy:
    """A dual copy with ``layer`` at ``1.middle``, a ReLU before it and one after it."""
    middle = nn.Sequential()
    middle.add_module("middle", layer)
    pooled = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3)]
    network = nn.Sequential(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU()), middle, *pooled).eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(3)
        network(IMAGES)
    return DualCopy(network)


class OwnRelu(torch.autograd.Function):
    """A ReLU that torch's function layer sees as an unknown kernel."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.ops.aten.clamp_min(x, 0)


def squeeze_and_excite(x: Tensor) -> Tensor:
    return x * F.relu(x.mean((2, 3), keepdim=True))


UNLISTED: dict[str, Callable[[Tensor], Tensor]] = {
    "x * x": lambda x: x * x,
    "x * (x > 0)": lambda x: x * (x > 0),
    "1 / x": lambda x: 1 / x,
    "x / x.sum()": lambda x: x / x.sum((1, 2, 3), keepdim=True),
    "x.mul_(x)": lambda x: x.mul_(x.clone()),
    "squeeze and excitation": squeeze_and_excite,
    "torch.ops.aten.relu": torch.ops.aten.relu,
    "torch.ops.aten.hardtanh": lambda x: torch.ops.aten.hardtanh(x, 0.0, 6.0),
    "torch.ops.aten.gelu": torch.ops.aten.gelu,
    "an autograd function of one's own": OwnRelu.apply,
    "rsqrt": lambda x: torch.rsqrt(x + 500),
    "sin": torch.sin,
    "round": torch.round,
    "prod": lambda x: x.prod(1, keepdim=True).expand_as(x),
    "argsort and gather": lambda x: x.gather(3, x.argsort(3)),
    "a mask written": lambda x: x.index_put((x < 0,), torch.zeros((), dtype=x.dtype)),
    "a matrix product with itself": lambda x: x @ x,
    "einsum": lambda x: torch.einsum("nchw,nchw->nchw", x, x),
    "a kink far from zero": lambda x: x - torch.ops.aten.relu(x - 5),
}


@pytest.mark.parametrize("call", UNLISTED)
def test_a_call_that_no_list_knows_is_refused_by_the_innermost_layers_name(call: str) -> None:
    dual = around(Calling(UNLISTED[call]))
    dual(IMAGES)  # the list alone does not see it
    with pytest.raises(UnsupportedActivationError, match=r"^layer '1\.middle' is not affine in its input") as caught:
        check_affine(dual, IMAGES)
    assert "\n" not in str(caught.value)


def test_a_product_in_the_networks_own_forward_is_named_by_the_networks_class() -> None:
    class Squaring(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            x = self[0](x)
            return self[2](self[1](x * x))

    network = Squaring(nn.Conv2d(2, 3, 1), nn.Flatten(), nn.Linear(192, 3)).eval()
    with pytest.raises(UnsupportedActivationError, match=r"^layer 'Squaring' is not affine"):
        check_affine(DualCopy(network), IMAGES)


def test_a_sum_over_the_batch_between_two_layers_is_named_by_the_layer_that_holds_them() -> None:
    class Centring(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            x = self[0](x)
            return self[1](x - x.mean(0, keepdim=True))

    dual = around(Centring(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 1)))
    with pytest.raises(UnsupportedActivationError, match=r"^layer '1\.middle' mixes"):
        check_affine(dual, IMAGES)


def test_what_a_layer_of_zeros_hides_from_the_output_is_found_all_the_same() -> None:
    dual = around(Calling(lambda x: x * x))
    nn.init.zeros_(dual.quantitative[1].middle.after.weight)
    with pytest.raises(UnsupportedActivationError, match=r"'1\.middle'"):
        check_affine(dual, IMAGES)


def test_the_quantitative_copy_is_probed_and_not_the_structural_one_alone() -> None:
    dual = around(Calling(lambda x: x))
    dual.quantitative[1].middle.function = torch.sin
    with pytest.raises(UnsupportedActivationError, match=r"'1\.middle'"):
        check_affine(dual, IMAGES)


class OwnWeights(nn.Module):
    """A 1 x 1 convolution whose weight is ``function`` of two parameters."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.direction, self.size = nn.Parameter(torch.eye(2) + 0.3), nn.Parameter(torch.tensor(1.5))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.function(self.direction, self.size)[:, :, None, None])


NOT_AFFINE_IN_A_PARAMETER: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
    "a normalised weight": (lambda v, g: g * v / (v * v).sum(), "direction"),
    "a squared scale": (lambda v, g: v * (g * g), "size"),
    "a divisor": (lambda v, g: v / g, "size"),
    "a weight without its negative part": (lambda v, g: g * v * (v > 0), "direction"),
}


@pytest.mark.parametrize("case", NOT_AFFINE_IN_A_PARAMETER)
def test_a_layer_that_is_not_affine_in_a_parameter_is_refused_with_the_parameters_name(case: str) -> None:
    function, parameter = NOT_AFFINE_IN_A_PARAMETER[case]
    dual = around(OwnWeights(function))
    dual(IMAGES)
    expected = rf"^layer '1\.middle' is not affine in its parameter '{parameter}' once its gates are fixed"
    with pytest.raises(UnsupportedActivationError, match=expected):
        check_affine(dual, IMAGES)


def test_spectral_normalisation_is_refused() -> None:
    dual = around(spectral_norm(nn.Conv2d(2, 4, 3)))
    with pytest.raises(UnsupportedActivationError, match=r"'1\.middle\.parametrizations\.weight"):
        check_affine(dual, IMAGES)


def test_a_parameter_that_does_not_learn_may_enter_as_it_likes() -> None:
    layer = OwnWeights(lambda v, g: v / g)
    layer.size.requires_grad_(False)
    check_affine(around(layer), IMAGES)


RANDOM: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.randn_like": lambda x: x + torch.randn_like(x),
    "torch.rand": lambda x: x * torch.rand(1, dtype=x.dtype),
    "torch.bernoulli": lambda x: x * torch.bernoulli(torch.full((1,), 0.5, dtype=x.dtype)),
    "torch.ops.aten.dropout": lambda x: torch.ops.aten.dropout(x, 0.5, True),
    "normal_": lambda x: x + torch.empty_like(x).normal_(),
}


@pytest.mark.parametrize("call", RANDOM)
def test_a_layer_that_draws_random_numbers_in_evaluation_mode_is_refused(call: str) -> None:
    dual = around(Calling(RANDOM[call]))
    with pytest.raises(UnsupportedActivationError, match=r"^layer '1\.middle' draws random numbers"):
        check_affine(dual, IMAGES)


def test_chance_from_elsewhere_than_torch_is_refused_too() -> None:
    chance = random.Random(1)  # noqa: S311 - else one draw in ten is refused for its batch
    dual = around(Calling(lambda x: x * chance.random()))
    with pytest.raises(UnsupportedActivationError, match=r"^layer '1\.middle' differs from call to call"):
        check_affine(dual, IMAGES)


def test_a_layer_that_remembers_earlier_calls_is_refused() -> None:
    seen: list[int] = []

    def later_calls_are_larger(x: Tensor) -> Tensor:
        seen.append(1)
        return x * len(seen)

    with pytest.raises(UnsupportedActivationError, match=r"^layer '1\.middle' differs from call to call"):
        check_affine(around(Calling(later_calls_are_larger)), IMAGES)


BATCH: dict[str, Callable[[Tensor], Tensor]] = {
    "x - x.mean(0)": lambda x: x - x.mean(0, keepdim=True),
    "x - x.mean()": lambda x: x - x.mean(),
    "x.roll(1, 0)": lambda x: x + x.roll(1, 0),
    "x.flip(0)": lambda x: x - 0.1 * x.flip(0),
}


@pytest.mark.parametrize("call", BATCH)
def test_a_layer_that_mixes_the_images_of_a_batch_is_refused(call: str) -> None:
    dual = around(Calling(BATCH[call]))
    dual(IMAGES)
    with pytest.raises(UnsupportedActivationError, match=r"^layer '1\.middle' mixes the images of a batch"):
        check_affine(dual, IMAGES)


@pytest.mark.parametrize(
    "name", [name for name in BUILDERS if name not in ("torchvision ResNet-18", "CIFAR ResNet-20")]
)  # proven elsewhere
def test_every_gated_network_passes(name: str) -> None:
    network = build(name)
    check_affine(DualCopy(network), batch_for(network, count=2)[0])


AFFINE: dict[str, Callable[[Tensor], Tensor]] = {
    "arithmetic of shapes": lambda x: x * (x.shape[1] / x.numel()) - x.dim(),
    "division by a constant": lambda x: x / torch.full((4, 1, 1), 3.0, dtype=x.dtype),
    "cumsum": lambda x: x.cumsum(3),
    "interpolation": lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "average pooling": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "a constant mask": lambda x: x * (torch.arange(8) % 2 == 0),
    "pixel shuffle": lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2),
    "a written slice": lambda x: x.index_fill(1, torch.tensor([1]), 2.0),
    "a permutation": lambda x: x.flip(3).transpose(2, 3).contiguous(),
}


@pytest.mark.parametrize("call", AFFINE)
def test_affine_calls_pass(call: str) -> None:
    check_affine(around(Calling(AFFINE[call])), IMAGES)


def test_batch_norm_folded_into_constants_passes() -> None:
    check_affine(around(FrozenBatchNorm2d(2)), IMAGES)


def test_two_parameters_of_one_layer_may_be_multiplied() -> None:
    check_affine(around(OwnWeights(lambda v, g: g * v)), IMAGES)


def test_layers_that_take_and_give_more_than_one_tensor_pass() -> None:
    class Pairs(nn.Module):
        def forward(self, pair: tuple[Tensor, Tensor], *, scale: dict[str, float]) -> dict[str, list[Tensor]]:
            return {"both": [pair[0] * scale["by"], F.relu_(pair[1])]}

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pairs = Pairs()

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat(self.pairs((x, -x), scale={"by": 2.0})["both"], 1)

    check_affine(around(Outer()), IMAGES)


@pytest.mark.parametrize("change", ["in training mode", "in double precision", "after training", "pooling free"])
def test_it_passes_whatever_state_the_dual_copy_is_in(change: str) -> None:
    network = build("pool: nn.MaxPool2d")
    dual = DualCopy(network, pool_gates=change != "pooling free")
    images, _ = batch_for(network)
    if change == "in training mode":
        dual.train()
    if change == "in double precision":
        dual, images = dual.double(), images.double()
    if change == "after training":
        perturb(dual.quantitative)
    check_affine(dual, images)


@pytest.mark.parametrize("name", ["residual add", "relu: dropout", "CIFAR ResNet-8"])
def test_it_leaves_the_dual_copy_the_images_and_torchs_generator_as_they_were(name: str) -> None:
    dual = DualCopy(build(name).double()).train()
    images = batch_for(dual.quantitative)[0].double()
    kept, generator = images.clone(), torch.get_rng_state()
    before = {key: tensor.clone() for key, tensor in dual.state_dict().items()}

    check_affine(dual, images)

    assert same_bits(images, kept)
    assert torch.equal(generator, torch.get_rng_state())
    assert all(same_bits(before[key], tensor) for key, tensor in dual.state_dict().items())
    assert dual.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in dual.modules())


def test_images_that_the_network_writes_to_stay_as_they_are() -> None:
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(128, 3)).double().eval()
    images = IMAGES.double()
    kept = images.clone()
    check_affine(DualCopy(network), images)
    assert same_bits(images, kept)


def test_a_refusal_leaves_torchs_generator_as_it_was() -> None:
    dual = around(Calling(RANDOM["torch.randn_like"]))
    generator = torch.get_rng_state()
    with pytest.raises(UnsupportedActivationError):
        check_affine(dual, IMAGES)
    assert torch.equal(generator, torch.get_rng_state())


def test_a_network_whose_branch_hangs_on_the_last_bit_cannot_be_probed() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x) if (x == IMAGES.double()).all() else x

    network = nn.Sequential(Branching(), nn.Flatten(), nn.Linear(128, 3)).eval()
    with pytest.raises(UnsupportedActivationError, match="takes another branch"):
        check_affine(DualCopy(network), IMAGES)


def test_a_layer_that_gives_no_numbers_is_named_as_such() -> None:
    with pytest.raises(UnsupportedActivationError, match=r"^layer '1\.middle' gives values that are not finite"):
        check_affine(around(Calling(torch.rsqrt)), IMAGES)


@pytest.mark.parametrize("images", [IMAGES[:1], IMAGES * float("nan"), IMAGES * float("inf")])
def test_images_that_show_nothing_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^images: .* at least two, with finite values"):
        check_affine(around(Calling(lambda x: x)), images)


class Holder(nn.Module):
    """Parameters in modules that are never called themselves."""

    def __init__(self, use: Callable[["Holder", Tensor], Tensor]) -> None:
        super().__init__()
        self.several = nn.ParameterList([nn.Parameter(torch.rand(6) + 1)])
        self.named = nn.ParameterDict({"g": nn.Parameter(torch.rand(6) + 1)})
        self.inner, self.fc = nn.Linear(6, 6), nn.Linear(6, 3)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.use(self, x))


def standardised(net: Holder, x: Tensor) -> Tensor:
    weight = net.inner.weight
    return F.linear(x, weight / (weight * weight).sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("use", "parameter"),
    [
        (lambda net, x: x * net.several[0] * net.several[0], "several.0"),
        (lambda net, x: x / net.named["g"], "named.g"),
        (standardised, "inner.weight"),
    ],
)
def test_parameters_of_modules_that_are_not_called_are_tested(
    use: Callable[[Holder, Tensor], Tensor], parameter: str
) -> None:
    with pytest.raises(UnsupportedActivationError, match=rf"'Holder' is not affine in its parameter '{parameter}'"):
        check_affine(DualCopy(Holder(use)), torch.randn(2, 6))


@pytest.mark.parametrize(
    "use",
    [
        lambda net, x: x * net.several[0] + net.named["g"],
        lambda net, x: F.linear(x, net.inner.weight, net.inner.bias),
        lambda net, x: net.inner(x),
    ],
)
def test_affine_uses_of_such_parameters_pass(use: Callable[[Holder, Tensor], Tensor]) -> None:
    check_affine(DualCopy(Holder(use)), torch.randn(2, 6))


class Floats(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.float())


def test_a_network_that_cannot_run_in_double_precision_is_told_so_in_one_line() -> None:
    with pytest.raises(UnsupportedActivationError, match=r"^layer 'fc' cannot be run in double precision[^\n]*$"):
        check_affine(DualCopy(Floats()), torch.randn(2, 6))
