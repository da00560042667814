"""A silo as Flower's client: the face of `Silo`, on arrays and configurations of scalars."""

from typing import Any

import torch
from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar
from torch import Tensor

from fedsq_flwr.federation import class_counts
from fedsq_flwr.federation.protocol import (
    ACCURACY,
    FINGERPRINT,
    HEAD_ONLY,
    OWN_RELUS,
    PROXIMAL_MU,
    ROUND,
    TRAIN_LOSS,
    TRAIN_SECONDS,
)
from fedsq_flwr.federation.silo import Memory, Observer, RoundOrders, Samples, Silo
from fedsq_flwr.gating import GateCache, QuantitativeCopy
from fedsq_flwr.learning import TrainingSettings
from fedsq_flwr.learning.checkpointing import TrainingCheckpoint
from fedsq_flwr.privacy.guard import PrivacyGuard


class FedSQClient(NumPyClient):
    """Flower client of one silo.

    Parameters
    ----------
    model : QuantitativeCopy
        A `DualCopy` for FedSQ, a plain `QuantitativeCopy` for FedAvg and FedProx. Each call overwrites all of its
        travelling state.
    train : (Tensor, Tensor)
        Images ``(N, C, H, W)``, prepared, and labels ``(N,)`` to learn from, on the model's device. Images that are
        too large to be held prepared may be `LazyImages`.
    held_out : (Tensor, Tensor)
        Images and labels that are never learnt from; may be empty.
    settings : TrainingSettings
        How to train. The learning rate of a round follows the schedule.
    silo : int
        Partition id. With ``seed`` and the round it seeds the order of the samples and their views.
    seed : int
        The run's seed.
    memory : SiloMemory, optional
        What the silo keeps between rounds. It is needed where batch norm is local, or where the structure changes
        during the run.
    gates : GateCache, optional
        Keeps the gates of the silo's images, so that each is computed once. It changes no number.
    measures : {"basic", "counts", "confusion"}
        What is reported of an evaluation beside loss and accuracy, see `class_counts`. Lists of numbers are among the
        metrics, unless it is ``basic``.
    privacy : PrivacyGuard, optional
        What the silo enforces.
    observer : Observer, optional
        Watches, for the silo's own use.
    checkpoint : TrainingCheckpoint, optional
        Keeps a training in progress, so that the silo goes on with it when it is asked again.

    Attributes
    ----------
    core : Silo
        What trains and evaluates.

    Raises
    ------
    ValueError
        If batch norm is local and there is no memory for it.
    PrivacyError
        If training as the settings say cannot be private.
    """

    def __init__(
        self,
        model: QuantitativeCopy,
        *,
        train: Samples,
        held_out: Samples,
        settings: TrainingSettings,
        silo: int,
        seed: int,
        memory: Memory | None = None,
        gates: GateCache | None = None,
        measures: class_counts.Level = "basic",
        privacy: PrivacyGuard | None = None,
        observer: Observer | None = None,
        checkpoint: TrainingCheckpoint | None = None,
    ) -> None:
        self.core = Silo(
            model,
            train=train,
            held_out=held_out,
            settings=settings,
            number=silo,
            seed=seed,
            memory=memory,
            gates=gates,
            predictions=measures != "basic",
            privacy=privacy,
            observer=observer,
            checkpoint=checkpoint,
        )
        self.measures = measures

    @property
    def model(self) -> QuantitativeCopy:
        """The model that trains."""
        return self.core.model

    @property
    def names(self) -> list[str]:
        """The names of the arrays that travel, in the order of the parameters of `fit` and `evaluate`."""
        return list(self.model.quantitative_state())

    def check_names(self, names: list[str]) -> None:
        """Raise ValueError unless ``names`` are what the quantitative copy consists of, in its order."""
        own = self.names
        if names != own:
            raise ValueError(
                "the server's arrays are another network's "
                f"(missing {sorted(set(own) - set(names))}, unknown {sorted(set(names) - set(own))})"
            )

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Train on the silo's samples, starting from ``parameters``.

        Parameters
        ----------
        parameters : list of ndarray
            The quantitative state, in the order of `QuantitativeCopy.quantitative_state`.
        config : dict
            ``server-round``; ``fingerprint`` of the server's structure, or ``own-relus`` in a round without one;
            ``head-only`` where only the head learns; ``proximal-mu`` if the inner strategy is FedProx.

        Returns
        -------
        (list of ndarray, int, dict)
            The trained state, the number of training samples, and ``train_loss`` and ``train_seconds``.

        Raises
        ------
        ValueError
            If the server's structure is not this silo's, or the arrays do not fit, or a local batch norm is not
            finite after training.
        """
        reply = self.core.train(self._state(parameters), _orders(config))
        trained = [tensor.numpy() for tensor in reply.state.values()]
        return trained, reply.examples, {TRAIN_LOSS: reply.loss, TRAIN_SECONDS: reply.seconds}

    def evaluate(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[float, int, dict[str, Scalar]]:
        """Evaluate ``parameters`` on the held-out samples: loss, their number, and ``accuracy``.

        A silo that holds nothing out answers with 0 samples and does not count.

        Raises
        ------
        ValueError
            If the server's structure is not this silo's, or the arrays do not fit.
        """
        reply = self.core.evaluate(self._state(parameters), _orders({ROUND: 0, **config}))  # the same in every round
        metrics: dict[str, Any] = {ACCURACY: reply.accuracy}
        if reply.predictions is not None:
            metrics |= class_counts.report(reply.predictions, self.measures)
        return reply.loss, reply.examples, metrics

    def _state(self, parameters: NDArrays) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array) for name, array in zip(self.names, parameters, strict=True)}


def _orders(config: dict[str, Scalar]) -> RoundOrders:
    return RoundOrders(
        round=int(config[ROUND]),
        fingerprint=str(config.get(FINGERPRINT, "")),
        own_relus=bool(config.get(OWN_RELUS, False)),
        head_only=bool(config.get(HEAD_ONLY, False)),
        proximal_mu=float(config.get(PROXIMAL_MU, 0.0)),
    )
