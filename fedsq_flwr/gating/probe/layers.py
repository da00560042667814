"""The second half of the probe tests that each layer, under its own gates, is affine in each of its parameters.

A layer is tested on the input that it gets in a pass through the network. `affine.py` has tested that the layers
after it are affine in its output, so the network is affine in the parameter too.
"""

import copy
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fedsq_flwr.gating.probe.sketch import Sketch, all_between
from fedsq_flwr.gating.record import Recording
from fedsq_flwr.gating.replay import Replaying
from fedsq_flwr.gating.support import refusal, tensors_of


def check_parameters(network: nn.Module, pair: Tensor) -> None:
    """Test that each layer is affine in each parameter that learns, on the first input that the layer gets.

    A parameter of a module that is not called itself, such as an `nn.ParameterList`, is tested with the layer around
    it.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode and double precision. Its parameters are moved and put back.
    pair : Tensor
        Images ``(N, C, H, W)`` for two passes, in double precision.

    Raises
    ------
    UnsupportedActivationError
        If a layer is not affine in a parameter under fixed gates; the message names both.
    """
    called: set[nn.Module] = set()
    with _before_each(network.modules(), lambda module, *_: called.add(module)):
        network(pair.clone())
    waiting = _learning_by_layer(network, called)
    names = {module: name or type(network).__name__ for name, module in network.named_modules()}
    busy = False

    def probe(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        nonlocal busy
        if not busy and module in waiting and torch._C._functorch.maybe_current_level() is None:
            busy = True  # the layers within this one are tested later, in the pass itself
            with torch.no_grad():  # whatever the network has switched on
                _check_layer(module, names[module], waiting.pop(module), args, kwargs)
            busy = False

    with _before_each(list(waiting), probe):
        network(pair.clone())


@contextmanager
def _before_each(modules: Iterable[nn.Module], hook: Callable[..., None]) -> Iterator[None]:
    """Call ``hook`` with each of ``modules`` and what it is given, before it runs."""
    handles = [module.register_forward_pre_hook(hook, prepend=True, with_kwargs=True) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _learning_by_layer(network: nn.Module, called: Container[nn.Module]) -> dict[nn.Module, dict[str, nn.Parameter]]:
    """Return the parameters that learn, by name within the innermost layer around them that is called."""
    found: dict[nn.Module, dict[str, nn.Parameter]] = {}
    modules = dict(network.named_modules(remove_duplicate=False))
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            path, own = name.rpartition(".")[::2]
            while path and modules[path] not in called:
                path, _, last = path.rpartition(".")
                own = f"{last}.{own}"
            found.setdefault(modules[path], {})[own] = parameter
    return found


def _check_layer(
    module: nn.Module,
    layer: str,
    learning: Mapping[str, nn.Parameter],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    def call() -> list[Sketch]:
        own_args, own_kwargs = copy.deepcopy((args, kwargs))  # the layer may write to them
        return [Sketch.of(tensor) for tensor in tensors_of(module(*own_args, **own_kwargs))]

    with Recording(module, pool_gates=True, copy_masks=True) as recording:
        start = call()
    for name, parameter in learning.items():
        moved = []
        for _ in _moves(parameter):
            with Replaying(recording.gates, pool_gates=True):
                moved.append(call())
        if not all_between(start, *moved):
            raise refusal(layer, f"is not affine in its parameter '{name}' once its gates are fixed")


def _moves(parameter: Tensor) -> Iterator[None]:
    """Move ``parameter`` in a random direction, in place; then half of the way back; then the rest of it.

    The direction is an outer product: noise for every value of a large layer would take longer than its passes.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(parameter.shape[:1], generator=generator, dtype=parameter.dtype)
    rest = torch.randn(parameter.shape[1:], generator=generator, dtype=parameter.dtype)
    kept = parameter.clone()
    size = 1 + float(torch.linalg.vector_norm(parameter)) / math.sqrt(max(1, parameter.numel()))
    columns = rows.reshape([*rows.shape, *[1] * rest.ndim])
    for part in (1.0, -0.5):
        parameter.addcmul_(columns, rest, value=part * size)
        yield
    parameter.copy_(kept)
