"""Local training of a silo: one loop for FedSQ and every baseline."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from math import ceil

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fedsq_flwr.gating import BoundGates, Images, QuantitativeCopy
from fedsq_flwr.learning.augmentation import AUGMENTATIONS
from fedsq_flwr.learning.batches import batch_count, shuffled_batches
from fedsq_flwr.learning.checkpointing import Progress, TrainingCheckpoint
from fedsq_flwr.learning.precision import autocast
from fedsq_flwr.learning.schedule import rate_factor
from fedsq_flwr.learning.seeding import derive_seed, seed_global_generators
from fedsq_flwr.learning.sgd import SGD


@dataclass(frozen=True)
class TrainingSettings:
    """How a silo trains: SGD with momentum.

    ``steps`` is the number of steps of a round; 0: by ``epochs``. A fraction of an epoch is its first
    steps, rounded up.
    ``learning_rate`` is that of the first round; ``schedule`` and ``rounds`` say how it goes on, see
    `fedsq_flwr.learning.schedule`. ``precision`` is ``float32`` or ``bfloat16`` (autocast), ``augmentation``
    one of `AUGMENTATIONS`.
    """

    epochs: float
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    precision: str = "float32"
    augmentation: str = "none"
    schedule: str = "constant"
    rounds: int = 1
    steps: int = 0

    def steps_of(self, batches: int) -> int:
        """Return the steps of a round, given the batches of an epoch."""
        return self.steps or ceil(Fraction(str(self.epochs)) * batches)  # 0.07 as written, not the next binary number

    def of_round(self, server_round: int) -> "TrainingSettings":
        """Return the settings of a round, from 1: with the learning rate that the schedule gives it."""
        factor = rate_factor(self.schedule, server_round, self.rounds)
        return replace(self, learning_rate=self.learning_rate * factor)


@dataclass(frozen=True)
class TrainingResult:
    """What local training reports: mean loss over all samples seen, number of samples, seconds."""

    loss: float
    examples: int
    seconds: float


def train_locally(
    model: QuantitativeCopy,
    images: Images,
    labels: Tensor,
    settings: TrainingSettings,
    *,
    seed: int,
    mu: float = 0.0,
    gates: BoundGates | None = None,
    checkpoint: TrainingCheckpoint | None = None,
) -> TrainingResult:
    """Train ``model`` in place on one silo's samples.

    Parameters
    ----------
    model : QuantitativeCopy
        The network; only its parameters (never the structural copy's tensors) are given to the optimiser.
    images : Tensor or LazyImages
        ``(N, C, H, W)`` floating-point, prepared, on the model's device; N >= 1.
    labels : Tensor
        ``(N,)`` int64, likewise.
    settings : TrainingSettings
        Epochs or steps, batch size, learning rate and so on.
    seed : int
        Seeds the order of the samples, their views and dropout; same seed, same thread count: same numbers.
    mu : float
        Weight of FedProx's proximal term ``mu / 2 * |w - w_start|^2`` (Li et al., 2020); not in the loss
        that is reported.
    gates : BoundGates, optional
        Cached gates, indexed like ``images``, one row for each view of the augmentation. Without them a
        `DualCopy` computes the gates of every batch; the numbers are the same.
    checkpoint : TrainingCheckpoint, optional
        Keeps this training, which was begun there; what it has of it is not trained again. The numbers are the same.

    Returns
    -------
    TrainingResult
        The optimiser's momentum is dropped: every round starts afresh, as in FedAvg.

    Raises
    ------
    ValueError
        If ``gates`` are kept without the views of the augmentation.
    """
    started = time.perf_counter()
    parameters = [p for p in model.parameters() if p.requires_grad]
    anchors = [p.detach().clone() for p in parameters] if mu else []
    optimizer = SGD(parameters, settings.learning_rate, settings.momentum, settings.weight_decay)
    order = torch.Generator().manual_seed(derive_seed(seed, "order"))
    augmentation = AUGMENTATIONS[settings.augmentation]
    if gates is not None and augmentation.views != 1 and gates.view != augmentation.view:
        raise ValueError(f"augmentation={settings.augmentation}: its gates cannot be kept as view {gates.view!r}")
    drawn = torch.Generator().manual_seed(derive_seed(seed, "augmentation"))
    shape = images[:1].shape[1:]
    steps = settings.steps_of(batch_count(len(labels), settings.batch_size))
    progress = Progress(torch.zeros((), device=images.device, dtype=torch.float64))
    model.train()
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []):
        seed_global_generators(derive_seed(seed, "dropout"), images.device)
        if checkpoint is not None:
            checkpoint.restore(progress, model, optimizer)
            started -= progress.seconds
        drawing = _batches(len(labels), shape, settings, order, drawn)
        for batch, views in islice(drawing, progress.steps, steps):
            # Indices on the CPU would be copied within the indexing, which waits for the device.
            here = batch.to(images.device, non_blocking=True)
            inputs = augmentation.apply(images[here if isinstance(images, Tensor) else batch], views)
            with autocast(images.device, settings.precision):
                logits = model(inputs) if gates is None else model(inputs, gates.of(batch, inputs, views))
                loss = F.cross_entropy(logits, labels[here])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if mu:
                _add_proximal_gradient(parameters, anchors, mu)
            optimizer.step()
            progress.total += loss.detach() * len(batch)  # read once, at the end: reading waits for the device
            progress.seen += len(batch)
            progress.steps += 1
            if checkpoint is not None and checkpoint.is_due():
                progress.seconds = time.perf_counter() - started
                checkpoint.write(progress, model, optimizer)
    return TrainingResult(float(progress.total) / progress.seen, len(labels), time.perf_counter() - started)


def _batches(
    count: int, shape: torch.Size, settings: TrainingSettings, order: torch.Generator, drawn: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the samples of each step and their views, epoch after epoch without end."""
    while True:
        views = AUGMENTATIONS[settings.augmentation].draw(count, shape, drawn)
        for batch in shuffled_batches(count, settings.batch_size, order):
            yield batch, views[batch]


def _add_proximal_gradient(parameters: list[torch.nn.Parameter], anchors: list[Tensor], mu: float) -> None:
    with torch.no_grad():
        for parameter, anchor in zip(parameters, anchors, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter - anchor, alpha=mu)
