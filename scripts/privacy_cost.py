"""What privacy costs: accuracy by unit and epsilon, for FedSQ and FedAvg under frozen batch norm, tuned alike.

Usage: ``python -m scripts.privacy_cost [--experiment NAME] [--rounds N] [--seeds N] [--silos N]``. Rates and clips
are chosen by the validation accuracy of seed 0, for each method, unit and epsilon over the same grid. The silos are
those of `fedsq_flwr.federation.silo`, without Flower; their noise is seeded, which only a simulation may do. The
noise of each silo is the least with which all rounds stay at epsilon. Prints Markdown; trials go to standard error.
"""

import argparse
import statistics
import sys
from dataclasses import dataclass
from functools import cache
from itertools import product

from torch import Tensor

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
from fedsq_flwr.privacy.ledger import Ledger, Unit
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings

METHODS = ("fedsq", "fedavg")
UNITS: tuple[Unit, ...] = ("record", "silo")
EPSILONS = (1.0, 3.0, 8.0)
DELTA = 1e-4
RATES = (0.01, 0.03, 0.1, 0.3)
CLIPS = (0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Privacy:
    """What every silo of a federation enforces."""

    unit: Unit
    epsilon: float
    clip: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiment", default="digits")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--silos", type=int, default=10)
    told = parser.parse_args()
    common = (f"experiment={told.experiment}", f"rounds={told.rounds}", f"silos={told.silos}", "batch_norm=frozen")
    print("| method | unit | epsilon | rate | clip | test accuracy: mean (std) |\n|---|---|---|---|---|---|")
    for method, (unit, epsilon) in product(METHODS, [(None, None), *product(UNITS, EPSILONS)]):
        settings = compose_settings([*common, f"method={method}", "executor=inprocess"])
        clips = (0.0,) if unit is None else CLIPS
        tried = {}
        for rate, clip in product(RATES, clips):
            tried[rate, clip] = run(settings, rate, unit and Privacy(unit, epsilon, clip))[0]
            print(method, unit, epsilon, rate, clip, tried[rate, clip], file=sys.stderr, flush=True)
        rate, clip = max(tried, key=lambda each: tried[each])
        privacy = unit and Privacy(unit, epsilon, clip)
        found = [run(settings.changed(seed=seed), rate, privacy)[1] for seed in range(told.seeds)]
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        shown = ("none", "", "") if unit is None else (unit, f"{epsilon:g}", f"{clip:g}")
        cells = (method, *shown[:2], f"{rate:g}", shown[2], f"{statistics.mean(found):.3f} ({spread:.3f})")
        print(f"| {' | '.join(cells)} |", flush=True)


def run(settings: RunSettings, rate: float, privacy: Privacy | None) -> tuple[float, float]:
    """Return validation and test accuracy after the last round."""
    settings = settings.changed(learning_rate=rate)
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
    parts: tuple[tuple[Tensor, Tensor], ...] = tuple((part.images, part.labels) for part in (own.train, own.held_out))
    how = training_settings(settings)
    guard = None
    if privacy is not None:
        probability, steps = sampling_of(len(own.train), how) if privacy.unit == "record" else (1.0, 1)
        noise = least_noise(privacy, probability, steps * settings.rounds)
        terms = PrivacyTerms(privacy.unit, privacy.clip, noise, DELTA, privacy.epsilon * (1 + 1e-6))
        guard = PrivacyGuard(terms, Ledger(), SeededRandomness(derive_seed(settings.seed, "noise", number)))
    return Silo(
        model,
        train=parts[0],
        held_out=parts[1],
        settings=how,
        number=number,
        seed=settings.seed,
        gates=gates,
        privacy=guard,
    )


@cache
def least_noise(privacy: Privacy, probability: float, count: int) -> float:
    """Return the least noise multiplier with which ``count`` steps stay at epsilon, to a thousandth."""
    half = 2.0 if privacy.unit == "silo" else 1.0  # see `PrivacyGuard.train`
    low, high = 0.1, 10_000.0
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        fits = epsilon_of({Mechanism(middle / half, probability): count}, DELTA) <= privacy.epsilon
        low, high = (low, middle) if fits else (middle, high)
    return high


if __name__ == "__main__":
    main()
