"""A probe that tests whether a network is affine once its gates are fixed; no list of refused calls is complete.

Under fixed gates a ReLU network is affine in its images, and each of its layers is affine in each of its
parameters. Therefore f((a + b) / 2) = (f(a) + f(b)) / 2. Other operations (``x * x``, ``1 / x``, ``x * (x > 0)``, a
ReLU inside a kernel, a normalised weight) break this equation. The network must also compute the same in all
circumstances (see `circumstances`), or the gates of the structural copy would not be its own.

The probe demands slightly more than the theory: a product of two branches is affine in each layer alone but not in
the images, and is refused. The probe tests random directions, so it gives evidence and no proof. The probe is our
choice; the abstract of FedSQ has no such check.
"""

import torch
from torch import Tensor, nn

from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.gating.packed.calls import Gate
from fedsq_flwr.gating.probe.circumstances import (
    check_batches,
    check_calls,
    check_gradients,
    check_memory,
    check_training,
)
from fedsq_flwr.gating.probe.layers import check_parameters
from fedsq_flwr.gating.probe.passes import Passes
from fedsq_flwr.gating.support import GateMismatchError, UnsupportedActivationError
from fedsq_flwr.models.copying import copied


def check_affine(dual: DualCopy, images: Tensor) -> None:
    """Refuse a network that is not affine under fixed gates, or whose gates depend on more than the image.

    Use it once, before you train a network of your own. It costs about 20 forward passes of two images in double
    precision, on a copy on the CPU. ``dual`` and torch's generator are not changed.

    Parameters
    ----------
    dual : DualCopy
        The network, on any device, in any mode.
    images : Tensor
        At least two images ``(N, C, H, W)``, of which the first two are used; they may be random.

    Raises
    ------
    UnsupportedActivationError
        Names the innermost layer whose output is not affine in its input or in a parameter, mixes the
        images of a batch, draws random numbers, differs from call to call, or is computed otherwise in training
        mode, with gradients or in another batch.
    ValueError
        If there are fewer than two images, or they are not finite.
    """
    if len(images) < 2 or not images[:2].isfinite().all():
        raise ValueError(f"images: {tuple(images.shape)}; the probe needs at least two, with finite values")
    pair = images[:2].detach().cpu()
    twin = copied(dual).cpu().eval()
    # Winners are fixed here even if `pool_gates` is off: then pooling is not affine by the user's choice.
    twin.pool_gates = True
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        # First as it is: the precision suffices, and what is not registered stays behind in a conversion.
        tensors = (*twin.parameters(), *twin.buffers())
        dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), pair.dtype)
        check_batches(twin, pair[:1].to(dtype))
        dual.head_fault = twin.head_fault
        exact, pair = twin.double(), pair.double()
        gates = _gates_in_double(exact, pair)
        passes = Passes(exact.quantitative, gates, pair)
        learning = [parameter for parameter in exact.parameters() if parameter.requires_grad]
        exact.requires_grad_(False)
        start = passes.run()
        check_calls(passes, start)
        passes.check_affine(start)
        for parameter in learning:
            parameter.requires_grad_(True)
        check_parameters(exact.quantitative, pair)
        check_memory(exact, pair)
        check_gradients(passes, start)
        check_training(passes, start)


def _gates_in_double(dual: DualCopy, pair: Tensor) -> list[Gate]:
    """Return the gates of the pair.

    Raises
    ------
    UnsupportedActivationError
        Names the layer that takes no double precision, as behind a conversion to another dtype.
    """
    layer = type(dual.structural).__name__
    names = {module: name for name, module in dual.structural.named_modules() if name}

    def note(module: nn.Module, _: object) -> None:
        nonlocal layer
        layer = names[module]

    handles = [module.register_forward_pre_hook(note) for module in names]
    try:
        return dual.calls(pair)[0]
    except (UnsupportedActivationError, GateMismatchError):
        raise
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UnsupportedActivationError(
            f"layer '{layer}' cannot be run in double precision, which the probe needs: {reason}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
