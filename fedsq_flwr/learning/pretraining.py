"""Pretraining a small backbone on a source domain, where no published weights exist."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fedsq_flwr.learning.batches import shuffled_batches
from fedsq_flwr.learning.seeding import seed_global_generators


@dataclass(frozen=True)
class PretrainingSettings:
    """SGD with Nesterov momentum 0.9, weight decay 5e-4, and a one-cycle learning rate."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


def pretrain(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: PretrainingSettings,
    progress: Callable[[int, float], None] | None = None,
) -> None:
    """Train ``network`` in place on ``images`` ``(N, C, H, W)`` and ``labels`` ``(N,)``; leave it in eval mode.

    ``progress`` is told each epoch's number and mean loss. The result depends on the settings, the
    thread count and the machine's kernels only.
    """
    steps = settings.epochs * -(-len(labels) // settings.batch_size)
    optimizer = torch.optim.SGD(
        network.parameters(), settings.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=steps + 1, cycle_momentum=False
    )
    order = torch.Generator().manual_seed(settings.seed)
    network.train()
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        seed_global_generators(settings.seed, images.device)  # for dropout
        for epoch in range(1, settings.epochs + 1):
            total = 0.0
            for batch in shuffled_batches(len(labels), settings.batch_size, order):
                loss = F.cross_entropy(network(images[batch]), labels[batch])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                total += float(loss.detach()) * len(batch)
            if progress is not None:
                progress(epoch, total / len(labels))
    network.eval()
