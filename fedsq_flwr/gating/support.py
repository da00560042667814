"""Which calls have gates, and which are refused.

A gate says in which of finitely many linear regimes an activation is (see `activations`), or which input wins (a
max-pooling). Under fixed gates the network is affine in each layer taken alone. Calls and modules that would break
this are refused by name (our choice: an error is better than a method that is silently applied in part).
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import FunctionType, MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name that the field uses
from torch import Tensor, nn
from torch.jit import ScriptFunction
from torch.nn.parameter import is_lazy


class GateMismatchError(RuntimeError):
    """A pass asks for other gates than were recorded, for example because it took another branch."""


class UnsupportedActivationError(ValueError):
    """A layer has no fixed linear regimes, so its network cannot have fixed gates."""


#: Max-pooling calls -> (the function that also returns the winners, number of spatial dimensions).
MAX_POOLS: Mapping[Callable[..., Any], tuple[Callable[..., Any], int]] = MappingProxyType(
    {
        F.max_pool1d: (F.max_pool1d_with_indices, 1),
        F.max_pool2d: (F.max_pool2d_with_indices, 2),
        F.max_pool3d: (F.max_pool3d_with_indices, 3),
        torch.max_pool1d: (F.max_pool1d_with_indices, 1),
        torch.max_pool2d: (F.max_pool2d_with_indices, 2),
        torch.max_pool3d: (F.max_pool3d_with_indices, 3),
        F.max_pool1d_with_indices: (F.max_pool1d_with_indices, 1),
        F.max_pool2d_with_indices: (F.max_pool2d_with_indices, 2),
        F.max_pool3d_with_indices: (F.max_pool3d_with_indices, 3),
        F.adaptive_max_pool1d: (F.adaptive_max_pool1d_with_indices, 1),
        F.adaptive_max_pool2d: (F.adaptive_max_pool2d_with_indices, 2),
        F.adaptive_max_pool3d: (F.adaptive_max_pool3d_with_indices, 3),
        torch.adaptive_max_pool1d: (F.adaptive_max_pool1d_with_indices, 1),
        F.adaptive_max_pool1d_with_indices: (F.adaptive_max_pool1d_with_indices, 1),
        F.adaptive_max_pool2d_with_indices: (F.adaptive_max_pool2d_with_indices, 2),
        F.adaptive_max_pool3d_with_indices: (F.adaptive_max_pool3d_with_indices, 3),
    }
)

#: Calls by which a layer makes an activation -> position of the layer's weight among the arguments.
LAYERS: Mapping[Callable[..., Any], int] = MappingProxyType(
    {
        F.linear: 1,
        F.conv1d: 1,
        F.conv2d: 1,
        F.conv3d: 1,
        F.conv_transpose1d: 1,
        F.conv_transpose2d: 1,
        F.conv_transpose3d: 1,
        F.batch_norm: 3,
    }
)

_REFUSED_MODULES: tuple[type[nn.Module], ...] = (
    nn.CELU, nn.ELU, nn.GELU, nn.GLU, nn.Hardswish,
    nn.LogSigmoid, nn.LogSoftmax, nn.Mish, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid,
    nn.Softmax, nn.Softmax2d, nn.Softmin, nn.Softplus, nn.Softsign, nn.Tanh, nn.Tanhshrink,
    nn.LPPool1d, nn.LPPool2d, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d,
    nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm, nn.CrossMapLRN2d,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.MultiheadAttention, nn.RNNBase,
    nn.RNNCellBase, nn.Bilinear, torch.jit.ScriptModule,
)  # fmt: skip

# Calls that are as common on constants as on activations (division, rsqrt, sin, cos, prod) are not here; the probe
# finds them. Activations are here that are refused where they are not piecewise linear in one input.
_REFUSED_NAMES = (
    "__ipow__", "__pow__", "__rpow__", "_weight_norm", "abs", "absolute", "amax", "amin", "aminmax", "cdist",
    "celu", "clamp", "clamp_max", "clamp_min", "clip", "copysign", "cosine_similarity", "cummax", "cummin",
    "cumprod", "elu", "erf", "erfc", "exp", "exp2", "expit", "expm1", "float_power", "fmax", "fmin",
    "fractional_max_pool2d", "fractional_max_pool3d", "gelu", "glu", "group_norm", "hardshrink",
    "hardsigmoid", "hardswish", "hardtanh", "heaviside", "hypot", "instance_norm", "kthvalue", "layer_norm",
    "leaky_relu", "local_response_norm", "log", "log10", "log1p", "log2", "log_softmax", "logaddexp",
    "logcumsumexp", "logit", "logsigmoid", "logsumexp", "lp_pool1d", "lp_pool2d", "masked_fill",
    "matrix_norm", "max", "maximum", "median", "min", "minimum", "mish", "mode", "msort", "nanmedian",
    "nanquantile", "norm", "normalize", "pairwise_distance", "pdist", "pow", "prelu", "quantile",
    "reciprocal", "relu6", "renorm", "rms_norm", "rrelu", "scaled_dot_product_attention", "selu", "sgn",
    "sigmoid", "sign", "silu", "softmax", "softmin", "softplus", "softshrink", "softsign", "sort", "sqrt",
    "square", "std", "std_mean", "tanh", "tanhshrink", "threshold", "topk", "var", "var_mean", "vector_norm",
    "where",
    # A convolution or a linear map with a ReLU in the same kernel.
    "_addmm_activation", "cudnn_convolution_relu", "cudnn_convolution_add_relu", "miopen_convolution_relu",
    "miopen_convolution_add_relu",
)  # fmt: skip


def _refused_functions() -> dict[Callable[..., Any], str]:
    """Return every form (function, method, in place) of the functions without fixed linear regimes -> its name."""
    found: dict[Callable[..., Any], str] = {}
    for name in _REFUSED_NAMES:
        for spelling in (name, f"{name}_"):
            for place in (F, torch, Tensor, torch._C._nn, torch.special, torch.linalg):
                function = getattr(place, spelling, None)
                if function is not None:
                    found[function] = spelling
    return found


#: Calls that depend on chance or on the batch in training mode -> (position, default) of the argument for that mode.
TRAINING_ARGUMENTS: Mapping[Callable[..., Any], tuple[int, bool]] = MappingProxyType(
    {
        F.dropout: (2, True),
        F.dropout1d: (2, True),
        F.dropout2d: (2, True),
        F.dropout3d: (2, True),
        torch.dropout: (2, True),
        F.alpha_dropout: (2, False),
        F.feature_alpha_dropout: (2, False),
        F.batch_norm: (5, False),
    }
)

#: Calls without fixed linear regimes -> their name.
REFUSED_CALLS: Mapping[Callable[..., Any], str] = MappingProxyType(_refused_functions())


def refusal(layer: str, reason: str) -> UnsupportedActivationError:
    """Return the error, one line, that says which layer is refused, why, and which layers are supported."""
    return UnsupportedActivationError(
        f"layer '{layer}' {reason}; fixed gating takes affine layers, piecewise-linear activations, "
        "max-pooling, batch normalisation and dropout"
    )


def check_modules(network: nn.Module) -> None:
    """Refuse a network that contains a module without fixed linear regimes, or one that hides its gates.

    Raises
    ------
    UnsupportedActivationError
        Names the first such layer and its class. Functional calls are found in the first pass only, which
        raises the same error.
    """
    for name, module in network.named_modules():
        layer, kind = name or type(network).__name__, type(module).__name__
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise UnsupportedActivationError(
                f"layer '{layer}' is a {kind} without running statistics, so that the gates of an image would depend "
                "on its batch"
            )
        if isinstance(module, _REFUSED_MODULES):
            raise refusal(layer, f"is a {kind}, which has no fixed linear regimes")
        if any(is_lazy(tensor) for tensor in (*module._parameters.values(), *module._buffers.values())):
            raise UnsupportedActivationError(f"layer '{layer}' is a {kind} without values yet: run the network once")
        hides = _hiding_place(module)
        if hides is not None:
            raise UnsupportedActivationError(f"layer '{layer}' {hides}, which hides its gates")


def _hiding_place(module: nn.Module) -> str | None:
    """Return what in a module hides calls from the pass, or None."""
    # By its name, because the class stands in a module that takes a second to import.
    if any(base.__name__ == "OptimizedModule" for base in type(module).__mro__):
        return "is compiled by torch.compile"
    if isinstance(module, nn.parallel.DistributedDataParallel) or (
        isinstance(module, nn.DataParallel) and len(module.device_ids) > 1
    ):
        return f"is a {type(module).__name__}"
    own = [base for base in type(module).__mro__ if base.__module__.partition(".")[0] not in ("torch", "builtins")]
    functions = [value for base in own for value in vars(base).values() if isinstance(value, FunctionType)]
    for name, value in [*vars(module).items(), *(read for function in functions for read in _reads(function))]:
        if isinstance(value, ScriptFunction):
            return f"calls '{name}', a function of torch.jit"
    return None


def _reads(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the names and values that a function reads from around itself."""
    for name in function.__code__.co_names:
        yield name, function.__globals__.get(name)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a name that has no value yet
            yield name, cell.cell_contents


def calling_layer(network: nn.Module) -> str:
    """Return the name of the innermost layer of ``network`` that is being executed, for error messages."""
    names = {id(module): name for name, module in network.named_modules()}
    frame = inspect.currentframe()
    while frame is not None:
        name = names.get(id(frame.f_locals.get("self")))
        if name is not None:
            return name or type(network).__name__
        frame = frame.f_back
    return type(network).__name__


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Yield the floating-point tensors within lists, tuples and dicts, in order; not those inside `torch.vmap`."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and not torch._C._functorch.is_functorch_wrapped_tensor(value):
            yield value
    elif isinstance(value, dict):
        yield from tensors_of(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_of(each)
