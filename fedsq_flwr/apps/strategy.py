"""The strategy of a run, as its settings say."""

import math
import secrets
from functools import partial
from typing import Any

from fedsq_flwr.federation import FedSQ
from fedsq_flwr.federation.aggregation import Surroundings, build_aggregation
from fedsq_flwr.federation.central_privacy import PrivateMean
from fedsq_flwr.federation.class_counts import lengths_of, names_of
from fedsq_flwr.federation.protocol import UNREADABLE
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.rounds import MEASURED
from fedsq_flwr.federation.server_model import ServerModel
from fedsq_flwr.learning import derive_seed
from fedsq_flwr.learning.randomness import Randomness, SeededRandomness, SystemRandomness
from fedsq_flwr.privacy.accounting import check_accountant
from fedsq_flwr.records.directory import RunDirectory
from fedsq_flwr.settings.executor import RealSilos
from fedsq_flwr.settings.method import ClippedUpdates
from fedsq_flwr.settings.run import RunSettings


def build_strategy(
    settings: RunSettings, model: ServerModel, registry: NodeRegistry, classes: int, shared: bool
) -> FedSQ:
    """Build the strategy of ``settings``, whose silos ``registry`` knows.

    Parameters
    ----------
    settings : RunSettings
        The settings, with the number of silos that there are.
    model : ServerModel
        Holds the structure and its fingerprint.
    registry : NodeRegistry
        Knows which node is which silo.
    classes : int
        Number of classes.
    shared : bool
        Whether messages may hold tensors of this process, see `Wire.takes_shared_arrays`.

    Raises
    ------
    ConfigurationError
        If the server adds noise and cannot count its epsilon here.
    """
    measured = dict(MEASURED)
    measured["evaluate"] = (*measured["evaluate"], *names_of(settings.silo_measures))
    if settings.has_real_silos:
        measured["train"] = (*measured["train"], UNREADABLE)
    run = Surroundings(model.arrays(), registry, _sampling(settings))
    averaging, private = build_aggregation(settings.method.averaging, run), settings.method.central_privacy
    if isinstance(private, ClippedUpdates):
        check_accountant()
        ledger = RunDirectory(settings.output).ledger
        averaging = PrivateMean(private, averaging, ledger, partial(_noise, settings))
    return FedSQ(
        averaging,
        fingerprint="" if settings.method.gates == "none" else lambda _: model.fingerprint,
        structure=lambda _: model.structure_arrays(shared),
        ask_for_structure=settings.executor.structure == "sent",
        linear_probing_rounds=settings.linear_probing_rounds,
        head=model.head_names(),
        metrics=measured,
        lengths=lengths_of(settings.silo_measures, classes),
        uniform=settings.method.weighting == "uniform",
        min_replies=settings.min_replies,
        max_examples=settings.max_examples,
        max_update_ratio=settings.max_update_ratio,
        seed=_sampling_seed(settings),
        timeout=settings.executor.round_timeout,
        registry=registry,
    )


def _noise(settings: RunSettings, server_round: int) -> Randomness:
    """Return where the noise of a round comes from: in a simulation from the seed, so that a run repeats."""
    if settings.has_real_silos:
        return SystemRandomness()
    return SeededRandomness(derive_seed(settings.seed, "central noise", server_round))


def _sampling_seed(settings: RunSettings) -> int:
    """Return the seed of the choice of silos. Epsilon counts on it that no silo knows who is chosen."""
    secret = settings.has_real_silos and isinstance(settings.method.central_privacy, ClippedUpdates)
    return secrets.randbits(63) if secret else settings.seed


def _sampling(settings: RunSettings) -> dict[str, Any]:
    """Return the fractions and minimums of silos, as keyword arguments of Flower's strategies."""
    return {
        "fraction_train": settings.fraction_train,
        "fraction_evaluate": settings.fraction_evaluate,
        "min_train_nodes": 1,
        "min_evaluate_nodes": 1 if settings.fraction_evaluate else 0,
        "min_available_nodes": settings.min_available_silos or _needed(settings),
    }


def _needed(settings: RunSettings) -> int:
    """Return how many silos must be connected where the settings do not say: all, which `connect` has waited for.

    Real silos may leave. A later round begins with as many as would be waited for.
    """
    executor = settings.executor
    return math.ceil(settings.silos * executor.reply_fraction) if isinstance(executor, RealSilos) else settings.silos
