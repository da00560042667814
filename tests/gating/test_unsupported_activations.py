"""What has no fixed linear regimes is refused by name: a module at construction, a call at the first pass."""

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small

from fedsq_flwr.gating import DualCopy, QuantitativeCopy, UnsupportedActivationError
from tests.gating.gated_networks import batch_for, build

MODULES = [
    nn.GELU(), nn.SiLU(), nn.Sigmoid(), nn.Tanh(), nn.ELU(), nn.CELU(), nn.SELU(), nn.RReLU(), nn.Hardswish(),
    nn.Softplus(), nn.Softsign(), nn.Softmax(1), nn.LogSoftmax(1), nn.Mish(), nn.GLU(), nn.Tanhshrink(),
    nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.RMSNorm(4), nn.InstanceNorm2d(4), nn.LocalResponseNorm(2),
    nn.MultiheadAttention(4, 2), nn.LSTM(4, 4), nn.Bilinear(2, 2, 2), nn.LPPool2d(2, 2),
    nn.FractionalMaxPool2d(2, output_size=2),
    nn.LSTMCell(4, 4), nn.GRUCell(4, 4), nn.RNNCell(4, 4),
]  # fmt: skip

CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.gelu": F.gelu,
    "F.silu": F.silu,
    "F.silu(inplace)": lambda x: F.silu(x, inplace=True),
    "F.elu": F.elu,
    "F.softplus": F.softplus,
    "F.hardswish": F.hardswish,
    "F.mish": F.mish,
    "F.celu": F.celu,
    "F.selu": F.selu,
    "F.rrelu": F.rrelu,
    "F.softsign": F.softsign,
    "F.logsigmoid": F.logsigmoid,
    "F.glu": lambda x: F.glu(x, 1),
    "F.instance_norm": F.instance_norm,
    "F.local_response_norm": lambda x: F.local_response_norm(x, 2),
    "F.lp_pool2d": lambda x: F.lp_pool2d(x, 2, 2),
    "F.softmax": lambda x: F.softmax(x, 1),
    "F.log_softmax": lambda x: F.log_softmax(x, 1),
    "F.layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "F.group_norm": lambda x: F.group_norm(x, 2),
    "F.sigmoid": F.sigmoid,
    "F.tanh": F.tanh,
    "torch.sigmoid": torch.sigmoid,
    "torch.softmax": lambda x: torch.softmax(x, 1),
    "torch.exp": torch.exp,
    "torch.log": lambda x: torch.log(x + 9),
    "torch.pow": lambda x: torch.pow(x, 2),
    "x.tanh()": lambda x: x.tanh(),
    "x.sigmoid_()": lambda x: x.sigmoid_(),
    "x.softmax(1)": lambda x: x.softmax(1),
    "x.square()": lambda x: x.square(),
}

#: As common in networks as the calls above, and no more affine under fixed gates.
OTHER_CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "x ** 2": lambda x: x**2,
    "x **= 2": lambda x: operator.ipow(x, 2),
    "x / x.norm()": lambda x: x / x.norm(dim=1, keepdim=True),
    "x.amax()": lambda x: x.amax((2, 3), keepdim=True),
    "torch.max(dim)": lambda x: torch.max(x, 3, keepdim=True).values,
    "torch.where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "F.normalize": F.normalize,
    "F.fractional_max_pool2d": lambda x: F.fractional_max_pool2d(x, 2, output_size=3),
    "torch.sort": lambda x: torch.sort(x, 1).values,
    "x.topk": lambda x: x.topk(2, 1).values,
    "x.kthvalue": lambda x: x.kthvalue(2, 1, keepdim=True).values,
    "x.median": lambda x: x - x.median(),
    "torch.quantile": lambda x: x - torch.quantile(x, 0.5),
    "x.std": lambda x: x + x.std((2, 3), keepdim=True),
    "torch.var": lambda x: x + torch.var(x, (2, 3), keepdim=True),
    "torch.var_mean": lambda x: x + torch.var_mean(x, (2, 3), keepdim=True)[0],
    "x.logsumexp": lambda x: x + x.logsumexp((2, 3), keepdim=True),
    "torch.logaddexp": lambda x: torch.logaddexp(x, -x),
    "x.reciprocal": lambda x: x.reciprocal(),
    "x.masked_fill": lambda x: x.masked_fill(x < 0, 0.0),
    "x.masked_fill_": lambda x: x.masked_fill_(x < 0, 0.0),
    "x.log1p": lambda x: (x + 9).log1p(),
    "torch.special.expit": torch.special.expit,
    "torch.erf": torch.erf,
    "torch.sign": torch.sign,
    "torch.fmax": lambda x: torch.fmax(x, -x),
    "torch.maximum of two activations": lambda x: torch.maximum(x, -x),
    "torch.max of two activations": lambda x: torch.max(x, -x),
    "torch.minimum with a bound a channel": lambda x: torch.minimum(x, torch.arange(4.0).view(4, 1, 1)),
    "x.clamp to an activation": lambda x: x.clamp(min=-x),
    "x.clamp to what learns": lambda x: x.clamp(max=nn.Parameter(torch.tensor(1.0))),
    "x.clamp, bounds the wrong way round": lambda x: x.clamp(1, 0),
    "x.clamp to not a number": lambda x: x.clamp(min=float("nan")),
    "torch.clamp(out=)": lambda x: torch.clamp(x, 0, 1, out=torch.empty_like(x)),
    "torch.maximum in double precision": lambda x: torch.maximum(x, torch.zeros_like(x, dtype=torch.float64)),
    "x.int().clamp": lambda x: x * x.int().clamp(0, 1),
    "x.max()": lambda x: x - x.max(),
    "x.min(dim)": lambda x: x.min(dim=1, keepdim=True).values,
    "x.cummax": lambda x: x.cummax(3).values,
    "torch.linalg.vector_norm": lambda x: x + torch.linalg.vector_norm(x, dim=1, keepdim=True),
    "F.cosine_similarity": lambda x: x + F.cosine_similarity(x, x.flip(1)).unsqueeze(1),
}


class Calling(nn.Module):
    """Calls ``function`` on the output of a convolution."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


def around(layer: nn.Module) -> nn.Module:
    """A network with ``layer`` at ``1.middle``."""
    middle = nn.Sequential()
    middle.add_module("middle", layer)
    return nn.Sequential(nn.Identity(), middle, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
def test_a_module_without_linear_regimes_is_refused_at_construction_by_name(module: nn.Module) -> None:
    with pytest.raises(UnsupportedActivationError) as caught:
        DualCopy(around(module))
    assert "'1.middle'" in str(caught.value)
    assert type(module).__name__ in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_without_linear_regimes_is_refused_at_the_first_pass_by_the_layers_name(call: str) -> None:
    dual = DualCopy(around(Calling(CALLS[call])).eval())
    with pytest.raises(UnsupportedActivationError) as caught:
        dual(torch.randn(8, 2, 8, 8))
    assert "'1.middle'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", OTHER_CALLS)
def test_other_calls_that_no_fixed_gate_makes_affine_are_refused_too(call: str) -> None:
    dual = DualCopy(around(Calling(OTHER_CALLS[call])).eval())
    with pytest.raises(UnsupportedActivationError, match=r"1\.middle"):
        dual(torch.randn(8, 2, 8, 8))


#: What looks at the batch, or at chance, even in evaluation mode.
UNSTEADY_CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.dropout": F.dropout,
    "F.dropout2d": F.dropout2d,
    "torch.dropout": lambda x: torch.dropout(x, 0.5, True),
    "F.batch_norm(training=True)": lambda x: F.batch_norm(x, None, None, training=True),
}


@pytest.mark.parametrize("call", UNSTEADY_CALLS)
def test_gates_that_would_depend_on_the_batch_or_on_chance_are_refused(call: str) -> None:
    dual = DualCopy(around(Calling(UNSTEADY_CALLS[call])).eval())
    with pytest.raises(UnsupportedActivationError, match=r"1\.middle"):
        dual(torch.randn(8, 2, 8, 8))


def test_gates_refuses_as_the_pass_does() -> None:
    dual = DualCopy(around(Calling(F.gelu)).eval())
    with pytest.raises(UnsupportedActivationError, match=r"'1\.middle' calls gelu"):
        dual.gates(torch.randn(8, 2, 8, 8))


def test_a_call_in_the_networks_own_forward_is_named_by_the_networks_class() -> None:
    with pytest.raises(UnsupportedActivationError, match="'Calling'"):
        DualCopy(Calling(F.gelu))(torch.randn(8, 2, 8, 8))


def test_a_normalised_weight_is_refused_by_the_name_of_its_layer() -> None:
    dual = DualCopy(around(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 4, 3))).eval())
    with pytest.raises(UnsupportedActivationError, match=r"'1\.middle\.parametrizations\.weight.*weight_norm"):
        dual(torch.randn(8, 2, 8, 8))


def test_mobilenet_v3_is_refused_with_the_name_of_its_first_hardswish() -> None:
    with pytest.raises(UnsupportedActivationError) as caught:
        DualCopy(mobilenet_v3_small(weights=None))
    assert str(caught.value).startswith("layer 'features.0.2' is a Hardswish, which has no fixed linear regimes; ")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_module_shows_no_gates_and_is_refused() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU()))
    with pytest.raises(UnsupportedActivationError, match=r"'1\.middle'"):
        DualCopy(around(scripted))


def test_after_a_refusal_torch_works_as_before() -> None:
    with pytest.raises(UnsupportedActivationError):
        DualCopy(around(Calling(F.gelu)).eval())(torch.randn(8, 2, 8, 8))
    assert F.gelu(torch.ones(1)).item() == pytest.approx(0.8413, abs=1e-4)


def test_the_error_is_a_value_error() -> None:
    assert issubclass(UnsupportedActivationError, ValueError)


def test_without_fixed_gates_any_activation_will_do() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))
    assert QuantitativeCopy(network)(torch.randn(8, 4)).shape == (8, 2)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(2, 4, 3, groups=2), nn.ConvTranspose2d(2, 4, 3), nn.AvgPool2d(2), nn.Upsample(scale_factor=2)],
    ids=lambda module: type(module).__name__,
)
def test_affine_layers_are_taken(layer: nn.Module) -> None:
    network = nn.Sequential(layer, nn.AdaptiveAvgPool2d(3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).eval()
    network(torch.randn(8, 2, 8, 8))
    assert DualCopy(network)(torch.randn(8, 2, 8, 8)).shape == (8, 2)


def test_max_pooling_without_pool_gates_is_taken() -> None:
    network = build("pool: nn.MaxPool2d")
    images, _ = batch_for(network)
    assert torch.equal(DualCopy(network, pool_gates=False)(images), network(images))


def test_a_batch_norm_without_running_statistics_is_refused_since_its_gates_depend_on_the_batch() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
    ).eval()
    with pytest.raises(ValueError, match="'1'"):
        DualCopy(network)
