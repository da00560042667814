"""The gradient of each sample of a batch, by `torch.func`: under fixed gates, fresh or cached, and without gates.

The structural pass runs on the whole batch, outside of the transform: gates within ``torch.func.vmap`` are refused.
Within the transform, each sample's network takes its own part of every gate. The gradient of a sample therefore
cannot depend on another sample of its batch, whatever the network does. It depends on the number of samples: kernels
round differently in another one. Where that matters, callers take the same number every time.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fedsq_flwr.gating import DualCopy, Gates, QuantitativeCopy
from fedsq_flwr.gating.independence import SMALLEST_BATCH
from fedsq_flwr.gating.packed.calls import ActivationGate, Gate, PackedActivation, PoolGate
from fedsq_flwr.gating.replay import Replaying


def per_sample_gradients(
    model: QuantitativeCopy, images: Tensor, labels: Tensor, gates: Gates | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Return each sample's gradient of the cross-entropy, and each sample's loss.

    Parameters
    ----------
    model : QuantitativeCopy
        In the mode in which it trains. A batch norm must not use the statistics of the batch.
    images, labels : Tensor
        ``(N, C, H, W)`` and ``(N,)``, on the model's device; N >= 1.
    gates : Gates, optional
        The gates of these images; a gated `DualCopy` computes them if they are not given.

    Returns
    -------
    (dict of str to Tensor, Tensor)
        ``(N, *shape)`` by the name of each parameter of the quantitative copy that learns; losses ``(N,)``.
    """
    network = model.quantitative
    learning = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
    replaying, parts = _gating(model, images, gates)

    def loss_of(
        parameters: dict[str, Tensor], image: Tensor, label: Tensor, own: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        with replaying(own):
            logits = torch.func.functional_call(network, parameters, (image.unsqueeze(0),))
        loss = F.cross_entropy(logits.float(), label.unsqueeze(0))
        return loss, loss

    gradient_of = torch.func.grad(loss_of, has_aux=True)
    of_samples: Callable[..., Any] = torch.func.vmap(gradient_of, in_dims=(None, 0, 0, 0), randomness="different")
    gradients, losses = of_samples(learning, images, labels, parts)
    return gradients, losses


@dataclass(frozen=True)
class _SampleActivation(ActivationGate):
    """The gate of an activation for one sample; ``source`` holds the regimes, int8 ``(1, ...)``.

    `torch.func` does not take the autograd functions that other gates are made of, so this is a plain selection.
    """

    def apply(self, value: Tensor, *, in_place: bool, slope: Tensor | None = None) -> Tensor:
        output = torch.zeros_like(value)
        for regime, term in self.regimes.values(value, slope):
            output = torch.where(self.source == regime, term, output)
        return value.copy_(output) if in_place else output


def _gating(
    model: QuantitativeCopy, images: Tensor, gates: Gates | None
) -> tuple[Callable[[Sequence[Tensor]], AbstractContextManager[object]], list[Tensor]]:
    """Return what puts one sample's gates in force, and the tensors ``(N, ...)`` of which it takes a row each."""
    if not (isinstance(model, DualCopy) and model.gated):
        return lambda _: nullcontext(), []
    calls: Sequence[Gate]
    if gates is None:  # in small batches other kernels run, and the gates of an image depend on its batch
        padded = torch.arange(max(len(images), SMALLEST_BATCH), device=images.device) % len(images)
        calls = model.calls(images[padded])[0]
    else:
        calls = gates.to(images.device).calls()

    def replaying(rows: Sequence[Tensor]) -> Replaying:
        own = [_of_sample(call, row.unsqueeze(0)) for call, row in zip(calls, rows, strict=True)]
        return Replaying(own, pool_gates=model.pool_gates, part=model.gated_part)

    return replaying, [_dense(call)[: len(images)] for call in calls]


def _dense(call: Gate) -> Tensor:
    """Return the regimes of an activation, int8, or the winners of a max-pooling."""
    if isinstance(call, PackedActivation):
        return call.layout.unpack_regimes(call.packed).to(torch.int8)
    if isinstance(call, ActivationGate):
        return 1 - call.source.sign().to(torch.int8)  # NaN becomes 0 as an integer: regime 1, as it should be
    return call.winners


def _of_sample(call: Gate, row: Tensor) -> Gate:
    if isinstance(call, PackedActivation | ActivationGate):
        return _SampleActivation(row, None, call.layer, call.regimes)
    plane = call.plane if isinstance(call, PoolGate) else call.layout.plane
    return PoolGate(row, tuple(plane), call.layer)
