"""From the settings of an aggregation to the Flower strategy that aggregates.

A new aggregation needs a class in ``settings/method.py``, a function here and a file in ``conf/method``.
"""

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedMedian, FedProx, Strategy

from fedsq_flwr.federation.local_models import LocalModels
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.settings import method
from fedsq_flwr.settings.base import Settings


@dataclass(frozen=True)
class Surroundings:
    """What an aggregation may need to know of the run.

    Attributes
    ----------
    start : ArrayRecord
        The model that the run started from, whatever round it goes on with.
    registry : NodeRegistry
        Knows which node is which silo.
    sampling : dict
        Fractions and minimums of silos, which all of Flower's strategies take.
    """

    start: ArrayRecord
    registry: NodeRegistry
    sampling: dict[str, Any]


@singledispatch
def build_aggregation(settings: Settings, run: Surroundings) -> Strategy:
    """Return the strategy that the settings of an aggregation ask for."""
    raise NotImplementedError(f"no aggregation is registered for {type(settings).__name__}")


@build_aggregation.register
def _(settings: method.FedAvg, run: Surroundings) -> Strategy:  # noqa: ARG001
    return FedAvg(**run.sampling)


@build_aggregation.register
def _(settings: method.FedProx, run: Surroundings) -> Strategy:
    return FedProx(proximal_mu=settings.mu, **run.sampling)


@build_aggregation.register
def _(settings: method.FedAvgM, run: Surroundings) -> Strategy:
    return FedAvgM(
        server_learning_rate=settings.server_learning_rate, server_momentum=settings.server_momentum, **run.sampling
    )


@build_aggregation.register
def _(settings: method.FedAdam, run: Surroundings) -> Strategy:
    return FedAdam(
        eta=settings.server_learning_rate,
        beta_1=settings.beta_1,
        beta_2=settings.beta_2,
        tau=settings.tau,
        **run.sampling,
    )


@build_aggregation.register
def _(settings: method.FedMedian, run: Surroundings) -> Strategy:  # noqa: ARG001
    return FedMedian(**run.sampling)


@build_aggregation.register
def _(settings: method.LocalModels, run: Surroundings) -> Strategy:  # noqa: ARG001
    return LocalModels(run.start, run.registry, **run.sampling)
