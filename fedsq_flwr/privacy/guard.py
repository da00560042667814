"""Stands between a run and the samples of a silo that has privacy settings: what leaves is private, and counted."""

import logging
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from fedsq_flwr.errors import PrivacyError
from fedsq_flwr.gating import BoundGates, Images, QuantitativeCopy
from fedsq_flwr.learning import TrainingResult, TrainingSettings, train_locally
from fedsq_flwr.learning.private_training import Noise, privatise_update, sampling_of, train_privately
from fedsq_flwr.learning.randomness import Randomness, SystemRandomness, normal
from fedsq_flwr.privacy.accounting import Mechanism
from fedsq_flwr.privacy.ledger import Ledger, Unit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrivacyTerms:
    """What a silo's operator decides; `fedsq_flwr.settings.silo.PrivacySettings` says what each is."""

    unit: Unit
    clip: float
    noise_multiplier: float
    delta: float
    max_epsilon: float
    min_samples: int = 1
    measures: Literal["none", "rounded", "noised"] = "none"
    measures_noise: float = 10.0


class PrivacyGuard:
    """Trains privately, and says how much of a number may leave.

    Parameters
    ----------
    terms : PrivacyTerms
        The operator's.
    ledger : Ledger
        Counts what is spent.
    randomness : Randomness, optional
        By default the operating system's; any other one is for simulations.
    """

    def __init__(self, terms: PrivacyTerms, ledger: Ledger, randomness: Randomness | None = None) -> None:
        self.terms = terms
        self.ledger = ledger
        self._randomness = SystemRandomness() if randomness is None else randomness

    @property
    def withholds_measures(self) -> bool:
        """Whether no loss, accuracy or number of samples leaves."""
        return self.terms.measures == "none"

    def check(self, batch_norm: str, precision: str, measures: str = "basic", examples: int | None = None) -> None:
        """Check that training as a run says can be private, and that no more is asked for than may leave.

        ``examples`` is the number of samples to train with, where it is known.

        Raises
        ------
        PrivacyError
            One line that names the setting of the run.
        """
        here = f"at this silo, which has privacy.unit={self.terms.unit}"
        if batch_norm != "frozen":
            raise PrivacyError(f"batch_norm={batch_norm}: must be frozen {here}")
        if self.terms.unit == "record" and precision != "float32":
            raise PrivacyError(f"executor.precision={precision}: must be float32 {here}")
        if measures != "basic":
            raise PrivacyError(f"silo_measures={measures}: must be basic {here}")
        if examples is not None and examples < max(1, self.terms.min_samples):
            raise PrivacyError(f"privacy.min_samples={self.terms.min_samples}: this silo has fewer")
        if examples is not None and self.terms.delta * examples >= 1:
            raise PrivacyError(f"privacy.delta={self.terms.delta:g}: must be below one over the number of images")

    def train(
        self,
        model: QuantitativeCopy,
        images: Images,
        labels: Tensor,
        settings: TrainingSettings,
        *,
        seed: int,
        mu: float = 0.0,
        gates: BoundGates | None = None,
    ) -> TrainingResult:
        """Train as `train_locally` does, so that the quantitative state may leave. It is charged before it begins.

        Raises
        ------
        PrivacyError
            If there are too few samples, the limit would be exceeded, or training cannot be private.
        """
        terms = self.terms
        self.check(model.batch_norm, settings.precision, examples=len(labels))
        self._charge(*self.cost_of_round(len(labels), settings))
        noise = Noise(terms.clip, terms.noise_multiplier, self._randomness)
        if terms.unit == "record":
            return train_privately(model, images, labels, settings, noise, mu=mu, gates=gates)
        start = {name: tensor.to("cpu", copy=True) for name, tensor in model.quantitative_state().items()}
        result = train_locally(model, images, labels, settings, seed=seed, mu=mu, gates=gates)
        trained = {name: tensor.cpu() for name, tensor in model.quantitative_state().items()}
        learning = {name for name, parameter in model.quantitative.named_parameters() if parameter.requires_grad}
        model.load_quantitative_state(privatise_update(start, trained, learning, noise))
        return result

    def cost_of_round(self, examples: int, settings: TrainingSettings) -> tuple[Mechanism, int]:
        """Return the mechanism that training on ``examples`` samples in a round is, and how often it runs."""
        multiplier = self.terms.noise_multiplier
        if self.terms.unit == "record":
            probability, steps = sampling_of(examples, settings)
            return Mechanism(multiplier, probability), steps
        # Between any two data sets of a silo, clipped updates differ by up to twice the clip.
        return Mechanism(multiplier / 2), 1

    def told_of_training(self, result: TrainingResult) -> TrainingResult:
        """Return the numbers of a training as they may leave."""
        examples, _ = self.told_counts(result.examples, 0)  # none held out: nothing is drawn for them
        if self.terms.measures == "rounded":
            return TrainingResult(round(result.loss, 1), examples, float(f"{result.seconds:.0e}"))
        return TrainingResult(0.0, examples, 0.0)

    def told_of_evaluation(self, loss: float, accuracy: float, examples: int) -> tuple[float, float, int]:
        """Return loss, accuracy and number of samples of an evaluation as they may leave.

        Noised, the loss is the share of wrong answers: cross-entropy has no bound.
        """
        if self.withholds_measures or examples == 0:
            return 0.0, 0.0, 0
        told = self._told("held out", examples)
        if self.terms.measures == "rounded":
            return round(loss, 1), round(20 * accuracy) / 20, told
        self._charge(Mechanism(self.terms.measures_noise))
        right = round(accuracy * examples) + self._normal()
        noised = min(1.0, max(0.0, right / told))
        return 1.0 - noised, noised, told

    def told_counts(self, train: int, held_out: int) -> tuple[int, int]:
        """Return the numbers of training and of held-out samples as they may leave; the former is never 0.

        Where none leaves, the former is ``min_samples``.
        """
        if self.withholds_measures:
            return max(1, self.terms.min_samples), 0
        return max(1, self._told("train", train)), self._told("held out", held_out)

    def _told(self, what: str, exact: int) -> int:
        if self.terms.measures == "rounded" or exact == 0:
            return int(float(f"{exact:.0e}"))
        return self.ledger.noised(what, exact, lambda: self._noised(exact))

    def _noised(self, exact: int) -> int:
        self._charge(Mechanism(self.terms.measures_noise))
        return max(1, round(exact + self._normal()))

    def _normal(self) -> float:
        return float(normal(self._randomness, 1)) * self.terms.measures_noise

    def _charge(self, mechanism: Mechanism, count: int = 1) -> None:
        terms = self.terms
        spent = self.ledger.charge(terms.unit, mechanism, count, delta=terms.delta, limit=terms.max_epsilon)
        log.info(
            "privacy: epsilon %.4g of %g is spent (unit %s, delta %g)",
            spent.epsilon,
            terms.max_epsilon,
            terms.unit,
            terms.delta,
        )
