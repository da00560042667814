"""A silo: trains and evaluates the quantitative copy on its own samples. It works on tensors, without Flower.

`FedSQClient` is the silo's face in Flower's terms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from fedsq_flwr.errors import PrivacyError
from fedsq_flwr.gating import DualCopy, GateCache, Images, QuantitativeCopy, bind, digest
from fedsq_flwr.learning import (
    AUGMENTATIONS,
    Evaluation,
    Predictions,
    TrainingResult,
    TrainingSettings,
    derive_seed,
    evaluate,
    train_locally,
)
from fedsq_flwr.learning.batch_norm_moments import Moments, batch_norm_moments
from fedsq_flwr.learning.checkpointing import TrainingCheckpoint
from fedsq_flwr.models.weights import state_digest
from fedsq_flwr.privacy.guard import PrivacyGuard

Samples = tuple[Images, Tensor]


@dataclass(frozen=True)
class RoundOrders:
    """What the server orders for a round, beside the model.

    Attributes
    ----------
    round : int
        From 1.
    fingerprint : str
        Fingerprint of the structure in force; empty without fixed gates.
    own_relus : bool
        Whether the network uses its own ReLUs in this round, in place of fixed gates.
    head_only : bool
        Whether only the head learns.
    proximal_mu : float
        Weight of FedProx's proximal term.
    """

    round: int
    fingerprint: str = ""
    own_relus: bool = False
    head_only: bool = False
    proximal_mu: float = 0.0


@dataclass(frozen=True)
class TrainReply:
    """What a silo replies after local training.

    Attributes
    ----------
    state : dict of str to Tensor
        The trained quantitative state, on the CPU. It is a copy.
    examples : int
        Number of training samples.
    loss : float
        Mean training loss over all samples seen.
    seconds : float
        Duration of the training.
    """

    state: dict[str, Tensor]
    examples: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class EvaluateReply:
    """What a silo finds in an evaluation: the mean loss, the accuracy, and the number of held-out samples.

    The predictions, where they are wanted, stay at the silo: `class_counts` says what is reported of them.
    """

    loss: float
    accuracy: float
    examples: int
    predictions: Predictions | None = field(default=None, compare=False, repr=False)


class Memory(Protocol):
    """What a silo keeps from round to round, outside the model: one model may serve several silos."""

    def load_local(self, model: QuantitativeCopy) -> None:
        """Give ``model`` the silo's own batch norm, where batch norm is local."""
        ...

    def keep_local(self, model: QuantitativeCopy) -> None:
        """Keep the batch norm of ``model`` as the silo's own, where batch norm is local."""
        ...

    def load_structure(self, model: DualCopy, fingerprint: str) -> None:
        """Give ``model`` the structure of that fingerprint, if the silo has it."""
        ...


class Observer(Protocol):
    """Watches a silo at work, for the silo's own use: what it is told is exact, and does not leave."""

    def before_training(self, silo: "Silo", state: Mapping[str, Tensor], orders: RoundOrders) -> bool:
        """Take note of a round that begins; tell whether the silo's model was used for something else."""
        ...

    def trained(self, orders: RoundOrders, result: TrainingResult) -> None:
        """Take note of what came of local training."""
        ...

    def evaluated(self, silo: "Silo", orders: RoundOrders, result: Evaluation) -> None:
        """Take note of an evaluation, with its predictions; the silo's model may be used for something else."""
        ...


class Silo:
    """One site's samples, and the model that trains on them.

    Parameters
    ----------
    model : QuantitativeCopy
        A `DualCopy` for FedSQ, a plain `QuantitativeCopy` for FedAvg and FedProx. Each call overwrites all of its
        travelling state.
    train, held_out : (Tensor, Tensor)
        Images and labels to learn from, and those that are never learnt from, on the model's device.
    settings : TrainingSettings
        How to train.
    number, seed : int
        Partition id, and the run's seed.
    memory : Memory, optional
        What the silo keeps between rounds.
    gates : GateCache, optional
        Keeps the gates of the silo's images. It changes no number.
    predictions : bool
        Whether evaluations are to hold the predictions.
    privacy : PrivacyGuard, optional
        What the silo enforces.
    observer : Observer, optional
        Watches, and changes no number.
    checkpoint : TrainingCheckpoint, optional
        Keeps a training in progress. A silo with privacy does not use it: it begins again, and is charged again.

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
        number: int,
        seed: int,
        memory: Memory | None = None,
        gates: GateCache | None = None,
        predictions: bool = False,
        privacy: PrivacyGuard | None = None,
        observer: Observer | None = None,
        checkpoint: TrainingCheckpoint | None = None,
    ) -> None:
        if privacy is not None:
            privacy.check(model.batch_norm, settings.precision)
        if memory is None and model.local_state():
            raise ValueError("batch_norm='local' needs memory=SiloMemory(context, start): a silo keeps its own")
        self.model = model
        self.samples = train
        self.held_out = held_out
        self.settings = settings
        self.number = number
        self.seed = seed
        self.memory = memory
        self.gates = gates
        self.predictions = predictions
        self.privacy = privacy
        self.observer = observer
        self.checkpoint = checkpoint

    def train(self, state: Mapping[str, Tensor], orders: RoundOrders) -> TrainReply:
        """Train on the silo's samples, starting from ``state``.

        Parameters
        ----------
        state : mapping of str to Tensor
            The quantitative state of the global model.
        orders : RoundOrders
            The round, and what applies to it.

        Raises
        ------
        ValueError
            If the server's structure is not this silo's, or the state does not fit, or a local batch norm is not
            finite after training.
        PrivacyError
            If the silo's privacy does not allow it.
        """
        self._load(state, orders)
        if self.observer is not None and self.observer.before_training(self, state, orders):
            self._load(state, orders)
        result = self.learn(orders)
        if self.observer is not None:
            self.observer.trained(orders, result)
        if self.memory is not None:
            self.memory.keep_local(self.model)
        trained = {name: tensor.to("cpu", copy=True) for name, tensor in self.model.quantitative_state().items()}
        if self.privacy is not None:
            result = self.privacy.told_of_training(result)
        return TrainReply(trained, result.examples, result.loss, result.seconds)

    def learn(self, orders: RoundOrders, *, alone: bool = False) -> TrainingResult:
        """Train the model as it is for the round of ``orders``.

        ``alone``, what is learnt stays at the silo: there is no proximal term, and no noise.
        """
        self.model.learn_head_only(orders.head_only)
        images, labels = self.samples
        settings = self.settings.of_round(orders.round)
        seed = derive_seed(self.seed, "train", orders.round, self.number)
        augmentation = AUGMENTATIONS[settings.augmentation]
        gates = bind(self.gates, self.model, images, view=augmentation.view, views=augmentation.views)
        mu = 0.0 if alone else orders.proximal_mu
        if self.privacy is not None and not alone:
            return self.privacy.train(self.model, images, labels, settings, seed=seed, mu=mu, gates=gates)
        kept = None if alone or self.privacy is not None else self.checkpoint
        if kept is not None:
            kept.begin(self._name_of(settings, orders))
        return train_locally(self.model, images, labels, settings, seed=seed, mu=mu, gates=gates, checkpoint=kept)

    def assess(self, *, predictions: bool) -> Evaluation:
        """Evaluate the model as it is on the held-out samples, of which there are some."""
        images, labels = self.held_out
        gates, precision = bind(self.gates, self.model, images), self.settings.precision
        return evaluate(self.model, images, labels, precision=precision, gates=gates, predictions=predictions)

    def evaluate(self, state: Mapping[str, Tensor], orders: RoundOrders) -> EvaluateReply:
        """Evaluate ``state`` on the held-out samples.

        A silo that holds nothing out replies with 0 samples and does not count.

        Raises
        ------
        ValueError
            If the server's structure is not this silo's, or the state does not fit.
        PrivacyError
            If the silo's privacy does not allow it.
        """
        if self.privacy is not None and self.privacy.withholds_measures and self.observer is None:
            return EvaluateReply(0.0, 0.0, 0)
        self._load(state, orders)
        if len(self.held_out[1]) == 0:
            return EvaluateReply(0.0, 0.0, 0)
        result = self.assess(predictions=self.predictions or self.observer is not None)
        if self.observer is not None:
            self.observer.evaluated(self, orders, result)
        if self.privacy is not None:
            return EvaluateReply(*self.privacy.told_of_evaluation(result.loss, result.accuracy, result.examples))
        predictions = result.predictions if self.predictions else None
        return EvaluateReply(result.loss, result.accuracy, result.examples, predictions)

    def moments(self, state: Mapping[str, Tensor]) -> dict[str, Moments]:
        """Return the moments of what enters each batch norm of the quantitative copy, over the training samples.

        Parameters
        ----------
        state : mapping of str to Tensor
            The quantitative state that the network has in this pass.

        Raises
        ------
        PrivacyError
            If the silo has privacy settings: the sums are exact.
        ValueError
            If the state does not fit, or there are too few samples.
        """
        if self.privacy is not None:
            raise PrivacyError("method.gate_statistics=reestimated: a silo with privacy settings tells no sums")
        self.model.load_quantitative_state(state)
        return batch_norm_moments(self.model.quantitative, self.samples[0])

    def _name_of(self, settings: TrainingSettings, orders: RoundOrders) -> str:
        """Name all that a training depends on, from the model that it starts from."""
        images, labels = self.samples
        start = state_digest({**self.model.quantitative_state(), **self.model.local_state()})  # all that was loaded
        return f"{self.seed} {self.number} {orders} {settings} {start} {digest(images)} {digest(labels)}"

    def _load(self, state: Mapping[str, Tensor], orders: RoundOrders) -> None:
        self._enter_structure(orders)
        self.model.load_quantitative_state(state)
        if self.memory is not None:
            self.memory.load_local(self.model)

    def _enter_structure(self, orders: RoundOrders) -> None:
        """Put the server's structure in force: own ReLUs, the one in the model, or one from memory."""
        theirs = orders.fingerprint
        if isinstance(self.model, DualCopy):
            self.model.gated = not orders.own_relus
            if self.memory is not None and self.model.fingerprint != theirs:
                self.memory.load_structure(self.model, theirs)
        own = self.model.fingerprint
        if theirs != own:
            raise ValueError(
                f"refuses: the server's structural fingerprint is {_short(theirs)}, "
                f"this silo's is {_short(own)}; both must use the same pretrained weights and gating options"
            )


def _short(fingerprint: str) -> str:
    return f"{fingerprint[:12]}..." if fingerprint else "none (no fixed gates)"
