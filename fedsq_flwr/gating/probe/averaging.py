"""The averaging gap: the distance between the function of the averaged weights and the average of the functions.

The gap is zero where the network is affine in the weights that differ, and in general not elsewhere. It measures
how far a round was from that; FedSQ's fixed gates are meant to make it small.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.models.quantitative import QuantitativeCopy

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class AveragingGap:
    """The distance between averaging K states and averaging their functions, in logits over a set of images.

    Attributes
    ----------
    states : int
        K.
    gap : float
        Mean over the images of the Euclidean norm of ``f(mean theta) - mean f(theta_k)``.
    spread : float
        Mean over the images of ``sqrt(sum_k w_k |f(theta_k) - mean f(theta_k)|^2)``.
    relative : float or None
        ``gap / spread``; None if all states give the same logits.
    """

    states: int
    gap: float
    spread: float
    relative: float | None


@dataclass(frozen=True)
class WeightDrift:
    """How far K states moved from their common start, in Euclidean norms over all their tensors.

    Attributes
    ----------
    mean : float
        Weighted mean of ``|theta_k - start|``.
    of_mean : float
        ``|mean theta_k - start|``: equal to ``mean`` if all moved alike, near 0 if the movements cancel.
    start : float
        ``|start|``, for scale.
    """

    mean: float
    of_mean: float
    start: float


@torch.no_grad()
def averaging_gap(model: QuantitativeCopy, states: Iterable[tuple[float, State]], images: Tensor) -> AveragingGap:
    """Measure the averaging gap of ``states`` in evaluation mode; a dual copy stays under its fixed gates.

    The states are read one at a time, so that they need not all be in memory.

    Parameters
    ----------
    model : QuantitativeCopy
        Computes f. Its state and mode are restored at the end.
    states : iterable of (float, mapping)
        Weights (any positive scale) and quantitative states, at least one. Tensors that do not travel, such as
        statistics that stay in the silos, are the model's own in every f.
    images : Tensor
        ``(N, C, H, W)`` on the model's device, used as one batch.

    Raises
    ------
    ValueError
        If there are no states, a weight is not above 0, or a state is another network's.
    """
    own = {name: tensor.clone() for name, tensor in model.quantitative_state().items()}
    was_training = model.training
    model.eval()
    # Without a fingerprint no structure is in force: the network uses its own ReLUs.
    gates = model.gates(images) if isinstance(model, DualCopy) and model.fingerprint else None

    def logits(state: State) -> Tensor:
        model.load_quantitative_state(state)
        output: Tensor = model(images) if gates is None else model(images, gates)
        return output.cpu().double()

    try:
        outputs, weights = [], []
        mean = _Mean()
        for weight, state in states:
            outputs.append(logits(state))
            weights.append(weight)
            mean.add(weight, state)
        of_mean = logits(mean.state())
    finally:
        model.load_quantitative_state(own)
        model.train(was_training)
    shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    stacked = torch.stack(outputs)
    mean_of = torch.einsum("k,knc->nc", shares, stacked)
    variance = torch.einsum("k,kn->n", shares, (stacked - mean_of).square().sum(2))
    gap = float((of_mean - mean_of).norm(dim=1).mean())
    spread = float(variance.sqrt().mean())
    return AveragingGap(len(weights), gap, spread, gap / spread if spread > 0 else None)


@torch.no_grad()
def weight_drift(start: State, states: Iterable[tuple[float, State]]) -> WeightDrift:
    """Measure how far ``states`` moved from ``start``, over the tensors that ``start`` names.

    Parameters
    ----------
    start : mapping
        The common start of all states; leave out running statistics, which have another scale.
    states : iterable of (float, mapping)
        Weights (any positive scale) and states, at least one, read one at a time.

    Raises
    ------
    ValueError
        If there are no states, or a weight is not above 0.
    """
    mean, total, drift = _Mean(), 0.0, 0.0
    for weight, state in states:
        named = {name: state[name] for name in start}
        drift += weight * _distance(named, start)
        total += weight
        mean.add(weight, named)
    averaged = mean.state()
    return WeightDrift(
        mean=drift / total,
        of_mean=_distance(averaged, start),
        start=math.sqrt(sum(float(tensor.cpu().double().square().sum()) for tensor in start.values())),
    )


class _Mean:
    """A weighted mean of states, summed in float64."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self._total = 0.0

    def add(self, weight: float, state: State) -> None:
        if not weight > 0:
            raise ValueError(f"weight {weight}: must be above 0")
        self._total += weight
        for name, tensor in state.items():
            self._sums[name] = self._sums.get(name, 0.0) + weight * tensor.cpu().double()
            self._dtypes[name] = tensor.dtype

    def state(self) -> dict[str, Tensor]:
        if not self._sums:
            raise ValueError("there are no states to average")
        return {name: (total / self._total).to(self._dtypes[name]) for name, total in self._sums.items()}


def _distance(state: State, start: State) -> float:
    squares = (float((state[name].cpu().double() - start[name].cpu().double()).square().sum()) for name in start)
    return math.sqrt(sum(squares))
