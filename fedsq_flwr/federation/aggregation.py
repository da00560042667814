"""From a method's settings to the Flower strategy that averages."""

from typing import Any

from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedMedian, FedProx, Strategy

from fedsq_flwr.config.schema import MethodConfig
from fedsq_flwr.federation.local_models import LocalModels
from fedsq_flwr.federation.roster import Roster
from fedsq_flwr.federation.server_optimiser import ServerOptimiser

#: What `build_aggregation` knows.
AGGREGATIONS = ("fedavg", "fedprox", "fedavgm", "fedadam", "fedmedian", "none")


def build_aggregation(
    method: MethodConfig, start: ArrayRecord, statistics: frozenset[str], roster: Roster, **sampling: Any
) -> Strategy:
    """Return the strategy that ``method.aggregation`` names.

    Parameters
    ----------
    method : MethodConfig
        The settings.
    start : ArrayRecord
        The model that the run started from, whatever round it goes on with.
    statistics : frozenset of str
        Names of those arrays that are running statistics: server optimisers leave them alone.
    roster : Roster
        Knows which node is which silo.
    **sampling
        Fractions and minimums of silos, which all of Flower's strategies take.

    Raises
    ------
    ValueError
        If the aggregation is unknown.
    """
    momentum, rate = method.server_momentum, method.server_learning_rate
    parameters = [name for name in start if name not in statistics]
    match method.aggregation:
        case "fedavg":
            return FedAvg(**sampling)
        case "fedprox":
            return FedProx(proximal_mu=method.mu, **sampling)
        case "fedavgm":
            optimiser = FedAvgM(server_learning_rate=rate, server_momentum=momentum, **sampling)
            return ServerOptimiser(optimiser, parameters)
        case "fedadam":
            adam = FedAdam(eta=rate, beta_1=momentum, beta_2=method.beta2, tau=method.tau, **sampling)
            return ServerOptimiser(adam, parameters)
        case "fedmedian":
            return FedMedian(**sampling)
        case "none":
            return LocalModels(start, roster, **sampling)
    raise ValueError(f"method.aggregation={method.aggregation}: allowed are {', '.join(AGGREGATIONS)}")
