"""``method``: where the gates come from, how replies are aggregated, and how private the server makes the average."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from fedsq_flwr.settings.base import FlatSettings, Settings, Text
from fedsq_flwr.settings.fields import Fact

Rounds = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
#: A factor of an exponential mean.
Decay = Annotated[float, Field(ge=0, lt=1)]


class OwnRelus(Settings):
    """No fixed gates: the network keeps its own ReLUs, as in FedAvg."""

    gates: Literal["none"] = "none"


class FixedGates(Settings):
    """Gates that a frozen structural copy fixes."""

    gates: str
    pool_gates: bool = True
    """Whether the structural copy also decides the winners of max-pooling."""
    gated_from: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Where the fixed gates begin, as a fraction of all gates counted from the input."""
    gated_to: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Where the fixed gates end, as a fraction of all gates counted from the input."""
    refresh_every: Rounds = 0
    """Take the gates from the global model again after so many rounds; 0: never."""
    release_after: Rounds = 0
    """Rounds under fixed gates, before the network's own ReLUs take over; 0: fixed to the end."""

    @model_validator(mode="after")
    def _ordered(self) -> "FixedGates":
        self.require(self.gated_to > self.gated_from, "gated_to", "must be above method.gated_from", "method.")
        return self


class PretrainedGates(FixedGates):
    """Gates of the pretrained network, or of the global model after some rounds."""

    gates: Literal["pretrained"] = "pretrained"
    freeze_after: Rounds = 0
    """Rounds with the network's own ReLUs, after which the global model fixes the gates; 0: fixed from the start."""

    @model_validator(mode="after")
    def _released_later(self) -> "PretrainedGates":
        later = self.release_after == 0 or self.release_after > self.freeze_after
        self.require(later, "release_after", "must be 0 or above method.freeze_after", "method.")
        return self


class RandomGates(FixedGates):
    """Gates of a random network, as a control."""

    gates: Literal["random"] = "random"


class WeightedAggregation(Settings):
    """An average of the replies."""

    weighting: Literal["examples", "uniform"] = "examples"
    """What a reply counts in the average: its number of training samples, or the same for every reply."""


class FedAvg(WeightedAggregation):
    """Plain averaging (McMahan et al., 2017)."""

    aggregation: Literal["fedavg"] = "fedavg"


class FedProx(WeightedAggregation):
    """Averaging, with a proximal term in local training (Li et al., 2020)."""

    aggregation: Literal["fedprox"] = "fedprox"
    mu: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the proximal term."""


class FedAvgM(WeightedAggregation):
    """Averaging with momentum at the server (Hsu et al., 2019)."""

    aggregation: Literal["fedavgm"] = "fedavgm"
    server_learning_rate: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate of the server."""
    server_momentum: Decay = 0.9
    """Momentum of the server."""


class FedAdam(WeightedAggregation):
    """Adam at the server (Reddi et al., 2021)."""

    aggregation: Literal["fedadam"] = "fedadam"
    server_learning_rate: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate of the server, Flower's ``eta``."""
    beta_1: Decay = 0.9
    """Decay of the first moment."""
    beta_2: Decay = 0.99
    """Decay of the second moment."""
    tau: Annotated[float, Field(gt=0)] = 0.001
    """Added to the square root of the second moment."""


class FedMedian(Settings):
    """The median of the silos' values, one by one (Yin et al., 2018)."""

    aggregation: Literal["fedmedian"] = "fedmedian"


class LocalModels(Settings):
    """No aggregation: each silo trains a model of its own."""

    aggregation: Literal["none"] = "none"


class NoPrivacy(Settings):
    """The average is as the silos' updates make it."""

    privacy: Literal["none"] = "none"
    """Whether the server clips the silos' updates and adds noise to their mean, and how it clips; by default not."""


class ClippedUpdates(Settings):
    """The server clips each silo's update and adds noise to their mean: silos are private to who gets the model."""

    privacy: str
    clip: Positive = 1.0
    """Largest norm of a silo's update; with adaptive clipping that of the first round."""
    noise_multiplier: Annotated[Positive, Fact.NOT_TUNED] = 1.0
    """Standard deviation of the noise on the sum of the updates, in multiples of the clip."""
    delta: Annotated[float, Field(gt=0, lt=1), Fact.NOT_TUNED] = 1e-5
    """Delta at which the server counts epsilon."""
    max_epsilon: Annotated[Positive | None, Fact.NO_NUMBER] = None
    """Largest epsilon of the run: the round that would exceed it ends the run; null: no limit."""


class FixedClipping(ClippedUpdates):
    """One clip for all rounds (McMahan et al., 2018)."""

    privacy: Literal["fixed_clipping"] = "fixed_clipping"


class AdaptiveClipping(ClippedUpdates):
    """A clip that follows a quantile of the norms of the updates (Andrew et al., 2021)."""

    privacy: Literal["adaptive_clipping"] = "adaptive_clipping"
    target_quantile: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Fraction of the updates that the clip is to leave as they are."""
    clip_learning_rate: Positive = 0.2
    """How fast the clip follows."""
    count_noise: Annotated[Positive, Fact.NOT_TUNED] = 1.0
    """Standard deviation of the noise on the number of clipped updates; ``noise_multiplier`` covers both."""

    @model_validator(mode="after")
    def _leaves_noise(self) -> "AdaptiveClipping":
        less = self.noise_multiplier < 2 * self.count_noise
        self.require(less, "noise_multiplier", "must be below twice method.count_noise", "method.")
        return self


Gating = Annotated[OwnRelus | PretrainedGates | RandomGates, Field(discriminator="gates")]
Averaging = Annotated[
    FedAvg | FedProx | FedAvgM | FedAdam | FedMedian | LocalModels, Field(discriminator="aggregation")
]

CentralPrivacy = Annotated[NoPrivacy | FixedClipping | AdaptiveClipping, Field(discriminator="privacy")]


class MethodSettings(FlatSettings):
    """A method of training: a source of gates, a way to aggregate and a privacy of the average, under a name."""

    inlined: ClassVar[tuple[str, ...]] = ("gating", "averaging", "central_privacy")

    name: Text = "fedsq"
    """What reports call the method."""
    gating: Gating = PretrainedGates()
    averaging: Averaging = FedAvg()
    central_privacy: CentralPrivacy = NoPrivacy()
    gate_statistics: Literal["pretrained", "reestimated"] = "pretrained"
    """Running statistics of batch norm that both copies start from: those of the weights, or estimated again on the
    silos' training images before the first round."""
    pooled: bool = False
    """Whether all training samples are in one place; the run then has one silo."""

    @property
    def gates(self) -> str:
        """Source of the fixed gates: ``pretrained``, ``random`` or ``none``."""
        return self.gating.gates

    @property
    def aggregation(self) -> str:
        """Name of the aggregation."""
        return self.averaging.aggregation

    @property
    def weighting(self) -> str:
        """What a reply counts in the average: ``examples`` or ``uniform``."""
        return self.averaging.weighting if isinstance(self.averaging, WeightedAggregation) else "examples"
