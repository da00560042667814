"""What privacy costs: accuracy by unit and epsilon, for FedSQ and FedAvg under frozen batch norm, tuned alike.

Usage: ``python -m scripts.privacy_cost [--experiment NAME] [--rounds N] [--seeds N] [--silos N] [--results FILE]
[OVERRIDE ...]``. Rates are chosen by the mean validation accuracy of seeds that are not reported, for each method and
unit over the same grid, at `TUNED_AT`; where most gradients are clipped, a smaller clip is like a smaller rate. The
silos are those of `fedsq_flwr.federation.silo`, without Flower; their noise is seeded, which only a simulation may
do. The noise of each silo is the least with which all rounds stay at epsilon. Each run is appended to the file of
results as it ends, and is not made again. Prints Markdown; runs go to standard error.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from fedsq_flwr.assembly.data import load_task
from fedsq_flwr.assembly.model import build_model, training_settings
from fedsq_flwr.data import FederatedData
from fedsq_flwr.federation.silo import RoundOrders, Silo
from fedsq_flwr.gating import GateCache, QuantitativeCopy
from fedsq_flwr.learning import derive_seed, evaluate
from fedsq_flwr.learning.private_training import sampling_of
from fedsq_flwr.learning.randomness import SeededRandomness
from fedsq_flwr.privacy.accounting import Mechanism, epsilon_of
from fedsq_flwr.privacy.guard import PrivacyGuard, PrivacyTerms
from fedsq_flwr.privacy.ledger import Epsilon, Ledger, Unit
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from scripts.experiments.results import keep_result, read_results

METHODS = ("fedsq", "fedavg")
UNITS: tuple[Unit, ...] = ("record", "silo")
EPSILONS = (3.0, 8.0, 1.0)
TUNED_AT = 3.0
#: One seed alone would choose a rate that diverges on others.
TUNING_SEEDS = (100, 101)
DELTA = 1e-4
#: By the unit. A clipped gradient is short, so private training takes higher rates.
RATES: Mapping[Unit | None, tuple[float, ...]] = MappingProxyType(
    {None: (0.03, 0.1, 0.3), "record": (0.03, 0.1, 0.3, 1.0), "silo": (0.03, 0.1)}
)
CLIP = 0.3
#: The 97.5 % quantile of Student's t, by the number of seeds: a 95 % interval is so many standard errors each way.
STUDENT = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}


@dataclass(frozen=True)
class Privacy:
    """What every silo of a federation enforces."""

    unit: Unit
    epsilon: float


class Uncounted(Ledger):
    """Counts nothing: `least_noise` has counted all rounds together."""

    def charge(self, unit: Unit, *_: object, delta: float, **__: object) -> Epsilon:
        """Return no epsilon."""
        return Epsilon(unit=unit, epsilon=0.0, delta=delta)


@dataclass(frozen=True)
class Study:
    """Makes runs that are not made yet, and keeps what came of them."""

    settings: RunSettings
    file: Path
    overrides: tuple[str, ...] = ()

    def accuracies(self, rate: float, privacy: Privacy | None, seed: int) -> tuple[float, float]:
        """Return validation and test accuracy after the last round."""
        own = self.settings.changed(seed=seed, learning_rate=rate)
        told = "none" if privacy is None else f"{privacy.unit} epsilon={privacy.epsilon:g} clip={CLIP:g}"
        task = " ".join((own.experiment, *self.overrides))
        name = f"{task} {own.method.name} rounds={own.rounds} {told} rate={rate:g} seed={seed}"
        found: dict[str, Any] | None = read_results(self.file).get(name)
        if found is None:
            started = time.process_time()
            validation, test = run(own, privacy)
            seconds = round(time.process_time() - started, 1)
            found = {"name": name, "validation": validation, "test": test, "cpu_seconds": seconds}
            keep_result(self.file, found)
            print(found, file=sys.stderr, flush=True)
        return found["validation"], found["test"]

    def tuned(self, unit: Unit | None) -> float:
        """Return the rate with the best mean validation accuracy."""

        def validation(rate: float) -> float:
            return statistics.mean(self.accuracies(rate, _of(unit, TUNED_AT), seed)[0] for seed in TUNING_SEEDS)

        return max(RATES[unit], key=validation)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiment", default="digits")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--silos", type=int, default=10)
    parser.add_argument("--results", type=Path, default=Path("privacy_cost.jsonl"))
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    told = parser.parse_args()
    torch.set_num_threads(1)
    common = [f"experiment={told.experiment}", f"rounds={told.rounds}", f"silos={told.silos}", "batch_norm=frozen"]
    common += told.overrides
    head = ("method", "unit", "epsilon", "rate", f"test accuracy: mean of {told.seeds} seeds, 95 % interval", "seeds")
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for unit in (None, *UNITS):
        for epsilon, method in product(EPSILONS if unit else (math.inf,), METHODS):
            settings = compose_settings([*common, f"method={method}", "executor=inprocess"])
            study = Study(settings, told.results, tuple(told.overrides))
            shown = row(study, _of(unit, epsilon), range(told.seeds))
            print(f"| {method} | {shown} |", flush=True)


def row(study: Study, privacy: Privacy | None, seeds: range) -> str:
    """Return the row of a method, a unit and an epsilon without the method's name."""
    rate = study.tuned(None if privacy is None else privacy.unit)
    found = [study.accuracies(rate, privacy, seed)[1] for seed in seeds]
    spread = STUDENT.get(len(found), math.nan) * statistics.stdev(found) / len(found) ** 0.5
    shown = ("none", "") if privacy is None else (privacy.unit, f"{privacy.epsilon:g}")
    each = ", ".join(f"{accuracy:.3f}" for accuracy in found)
    return " | ".join((*shown, f"{rate:g}", f"{statistics.mean(found):.3f} ± {spread:.3f}", each))


def _of(unit: Unit | None, epsilon: float) -> Privacy | None:
    return None if unit is None else Privacy(unit, epsilon)


def run(settings: RunSettings, privacy: Privacy | None) -> tuple[float, float]:
    """Return validation and test accuracy after the last round."""
    data = load_task(settings, settings.silos)
    model = build_model(settings, len(data.class_names))
    start = {name: tensor.clone() for name, tensor in model.quantitative_state().items()}
    gates = GateCache()
    silos = [silo_of(number, data, settings, model, privacy, gates=gates) for number in range(settings.silos)]
    state = start
    for number in range(1, settings.rounds + 1):
        orders = RoundOrders(number, model.fingerprint)
        replies = [silo.train(state, orders).state for silo in silos]
        state = {name: sum((reply[name] for reply in replies), start=0 * start[name]) / len(silos) for name in start}
    model.load_quantitative_state(state)
    validation, test = (evaluate(model, part.images, part.labels).accuracy for part in (data.validation, data.test))
    return validation, test


def silo_of(
    number: int,
    data: FederatedData,
    settings: RunSettings,
    model: QuantitativeCopy,
    privacy: Privacy | None,
    *,
    gates: GateCache,
) -> Silo:
    """Return a silo; all of them train one model, each in its turn."""
    own = data.of_silo(number)
    train, held_out = ((part.images, part.labels) for part in (own.train, own.held_out))
    how = training_settings(settings)
    guard = None
    if privacy is not None:
        probability, steps = sampling_of(len(own.train), how) if privacy.unit == "record" else (1.0, 1)
        noise = least_noise(privacy.unit, privacy.epsilon, probability, steps * settings.rounds)
        terms = PrivacyTerms(privacy.unit, CLIP, noise, DELTA, math.inf)
        guard = PrivacyGuard(terms, Uncounted(), SeededRandomness(derive_seed(settings.seed, "noise", number)))
    return Silo(
        model,
        train=train,
        held_out=held_out,
        settings=how,
        number=number,
        seed=settings.seed,
        gates=gates,
        privacy=guard,
    )


@cache
def least_noise(unit: Unit, epsilon: float, probability: float, count: int) -> float:
    """Return the least noise multiplier with which ``count`` steps stay at epsilon, to a hundredth."""
    half = 2.0 if unit == "silo" else 1.0  # see `PrivacyGuard.train`
    low, high = 0.1, 10_000.0
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        fits = epsilon_of({Mechanism(middle / half, probability): count}, DELTA) <= epsilon
        low, high = (low, middle) if fits else (middle, high)
    return high


if __name__ == "__main__":
    main()
