"""Private training: DP-SGD, which protects each sample, and the private form of a whole update.

DP-SGD is that of Abadi et al. (2016, arXiv 1607.00133). The code does what its accountant assumes
(`fedsq_flwr.privacy.accounting`): each step draws each sample by itself with probability q (Poisson sampling), clips
each sample's gradient, and adds normal noise to their sum. All else that happens to the sum depends on no sample.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from fedsq_flwr.gating import BoundGates, Images, QuantitativeCopy
from fedsq_flwr.learning.augmentation import AUGMENTATIONS
from fedsq_flwr.learning.per_sample import per_sample_gradients
from fedsq_flwr.learning.randomness import Randomness, draw_seed, normal
from fedsq_flwr.learning.seeding import seed_global_generators
from fedsq_flwr.learning.sgd import SGD
from fedsq_flwr.learning.training import TrainingResult, TrainingSettings

#: Values of gradients that are held at a time: 1 GiB.
_MOST_VALUES = 2**28
_MOST_SAMPLES = 16  # at a time; more are no faster on two cores


@dataclass(frozen=True)
class Noise:
    """How much is clipped and how much noise is added.

    Attributes
    ----------
    clip : float
        The largest Euclidean norm that what is protected may have, above 0.
    multiplier : float
        Standard deviation of the noise on each value, as a multiple of ``clip``; above 0.
    randomness : Randomness
        Where noise and batches come from.
    """

    clip: float
    multiplier: float
    randomness: Randomness

    def like(self, tensor: Tensor) -> Tensor:
        """Draw noise for each value of ``tensor``, float32 on its device."""
        drawn = normal(self.randomness, tensor.numel()) * (self.multiplier * self.clip)
        return drawn.to(tensor.device, torch.float32).view(tensor.shape)


def sampling_of(examples: int, settings: TrainingSettings) -> tuple[float, int]:
    """Return the probability with which a step takes a sample, and the number of steps of a round.

    An epoch has as many steps as it would have batches.
    """
    probability = min(1.0, settings.batch_size / examples)
    return probability, settings.steps_of(ceil(examples / settings.batch_size))


def train_privately(
    model: QuantitativeCopy,
    images: Images,
    labels: Tensor,
    settings: TrainingSettings,
    noise: Noise,
    *,
    mu: float = 0.0,
    gates: BoundGates | None = None,
) -> TrainingResult:
    """Train ``model`` in place by DP-SGD on one silo's samples.

    No draw comes from a seed of the run: whoever knows the batches or the noise could undo the protection.

    Parameters
    ----------
    model, images, labels, settings, mu, gates
        As in `train_locally`. ``batch_size`` is the expected size of a batch, and what the sum is divided by.
    noise : Noise
        For the gradient of a sample.

    Returns
    -------
    TrainingResult
        Its loss is no private number.

    Raises
    ------
    ValueError
        Unless ``batch_norm`` is ``frozen`` (a batch's statistics mix its samples) and ``precision`` float32 (torch's
        batch norm of single samples takes no other).
    """
    if settings.precision != "float32":
        raise ValueError(f"precision={settings.precision}: must be float32 in private training")
    if model.batch_norm != "frozen":
        raise ValueError(f"batch_norm={model.batch_norm}: must be frozen in private training")
    started = time.perf_counter()
    named = {name: p for name, p in model.quantitative.named_parameters() if p.requires_grad}
    anchors = {name: p.detach().clone() for name, p in named.items()}
    optimizer = SGD(list(named.values()), settings.learning_rate, settings.momentum, settings.weight_decay)
    augmentation = AUGMENTATIONS[settings.augmentation]
    shape = images[:1].shape[1:]
    probability, steps = sampling_of(len(labels), settings)
    at_once = max(1, min(_MOST_SAMPLES, _MOST_VALUES // max(1, sum(p.numel() for p in named.values()))))
    total, seen = torch.zeros((), device=images.device, dtype=torch.float64), 0
    views_drawn = torch.Generator().manual_seed(draw_seed(noise.randomness))
    model.train()
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []):
        seed_global_generators(draw_seed(noise.randomness), images.device)  # for dropout
        for _ in range(steps):
            batch = (noise.randomness.uniform(len(labels)) < probability).nonzero().flatten()
            sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in named.items()}
            for samples in torch.split(batch, at_once) if len(batch) else ():
                # Always as many: in another number a kernel may round a sample's gradient otherwise, and a server can
                # choose weights that make much of it. Then one sample more would move the gradients of others.
                filled = samples[torch.arange(at_once, device=samples.device) % len(samples)]
                views = augmentation.draw(at_once, shape, views_drawn)
                inputs = augmentation.apply(images[filled], views)
                known = None if gates is None else gates.of(filled, inputs, views)
                gradients, losses = per_sample_gradients(model, inputs, labels[filled], known)
                own = {name: gradient[: len(samples)] for name, gradient in gradients.items()}
                add_clipped(sums, own, noise.clip)
                total, seen = total + losses[: len(samples)].detach().double().sum(), seen + len(samples)
            for name, parameter in named.items():
                step = (sums[name] + noise.like(sums[name])) / settings.batch_size
                if mu:
                    step += mu * (parameter.detach() - anchors[name])
                parameter.grad = step.to(parameter.dtype)
            optimizer.step()
    optimizer.zero_grad()
    return TrainingResult(float(total) / max(1, seen), len(labels), time.perf_counter() - started)


def add_clipped(sums: Mapping[str, Tensor], gradients: Mapping[str, Tensor], clip: float) -> None:
    """Add to ``sums`` each sample's gradient, scaled down to the norm ``clip`` where it is larger.

    A gradient whose norm is not finite counts as 0: a server can send weights at which a certain sample has one, and
    a sum of NaN would tell that it is there.
    """
    flat = [gradient.float().flatten(1) for gradient in gradients.values()]
    factors = _factors(torch.stack([each.square().sum(1) for each in flat]).sum(0).sqrt(), clip)
    for total, each in zip(sums.values(), flat, strict=True):
        total.add_((factors @ torch.where(factors.unsqueeze(1) > 0, each, 0)).view(total.shape))


def privatise_update(
    start: Mapping[str, Tensor], trained: Mapping[str, Tensor], learning: Collection[str], noise: Noise
) -> dict[str, Tensor]:
    """Return ``trained`` with its whole difference from ``start`` clipped and noised.

    Parameters
    ----------
    start, trained : mapping of str to Tensor
        The same names; floating-point, on the CPU.
    learning : collection of str
        Names of the tensors that learn in this round; all others are returned as they were in ``start``.
    noise : Noise
        For the whole update.

    Returns
    -------
    dict of str to Tensor
        A difference whose norm is not finite counts as 0 before the noise.
    """
    steps = {name: (trained[name] - start[name]).float() for name in start if name in learning}
    norm = torch.stack([step.square().sum() for step in steps.values()]).sum().sqrt()
    factor = _factors(norm, noise.clip)
    private = dict(start)
    for name, step in steps.items():
        clipped = step * factor if factor > 0 else torch.zeros_like(step)
        private[name] = start[name] + (clipped + noise.like(step)).to(start[name].dtype)
    return private


def _factors(norms: Tensor, clip: float) -> Tensor:
    """Return by what to multiply so that no norm is above ``clip``; 0 for norms that are not finite."""
    return torch.where(norms.isfinite(), clip / norms.clamp_min(clip), 0.0)
