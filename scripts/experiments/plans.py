"""The planned runs, most telling first. A plan is asked again after each run: later runs take the rates that won.

Rates and mu are tuned for each arm alike, on seeds that the plan names, by the best validation accuracy, then by the
mean of the rounds. Until these runs are done, runs that depend on them are listed with the first candidate.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice, product
from types import MappingProxyType
from typing import Any

from scripts.experiments.results import Results

Settings = Mapping[str, Any]
#: What changes no number but by the number of threads. Where a network has dropout, silos train one after the other.
ONE_BY_ONE = ("executor=inprocess", "executor.threads=2")
SIDE_BY_SIDE = ("executor=inprocess", "executor.threads=1", "executor.workers=2")
#: Minutes of a run by its experiment on two cores without other work: estimates. Only the first rests on trial
#: rounds of this experiment (their CPU time). The others are scaled from rounds of like runs.
MINUTES: Mapping[str, float] = MappingProxyType(
    {"imagenet_gates": 5.0, "digits": 0.5, "cifar10_halves": 1.3, "cifar10_pretraining": 20.0}
)


@dataclass(frozen=True)
class Run:
    """A run of a plan.

    Attributes
    ----------
    settings : mapping
        Its overrides, which name it.
    times : float
        The estimate of its length, in runs of its experiment as this is.
    """

    settings: Settings
    times: float = 1.0

    @property
    def name(self) -> str:
        """The name of the run and of its directory."""
        return ",".join(f"{name}={value}" for name, value in self.settings.items()).replace("/", "_")

    @property
    def minutes(self) -> float:
        """The estimate."""
        return self.times * MINUTES[self.settings["experiment"]]

    @property
    def machine(self) -> tuple[str, ...]:
        """Overrides for two cores."""
        alone = self.settings["experiment"] in ("imagenet_gates", "cifar10_pretraining")
        return ONE_BY_ONE if alone else SIDE_BY_SIDE

    @property
    def is_start(self) -> bool:
        """Whether other runs start from its weights."""
        return self.settings == PRETRAINING


Plan = Callable[[Results], list[Run]]

PRETRAINING: Settings = MappingProxyType({"experiment": "cifar10_pretraining"})
DIGITS: Settings = MappingProxyType({"experiment": "digits"})
HALVES: Settings = MappingProxyType(
    {
        "experiment": "cifar10_halves",
        "backbone.weights": f"OUTPUT/{Run(PRETRAINING).name}",
        "data.limit": 2000,
        "data.test_limit": 1000,
    }
)
METHODS: tuple[Settings, ...] = tuple({"method": name} for name in ("fedsq", "fedavg", "fedsq_late_gates"))
FROZEN: Settings = MappingProxyType({"method": "fedavg", "batch_norm": "frozen"})
RATES = {"digits": (0.1, 0.2), "cifar10_halves": (0.05, 0.1)}
FROZEN_RATES = {"digits": (0.05, 0.1), "cifar10_halves": (0.02, 0.05)}
MUS = (0.01, 0.1, 1.0)
#: In the error of a run whose partition cannot be drawn.
NO_DRAW = "no draw gave every silo"
TASKS = tuple(product((DIGITS, HALVES), (0.1, 0.5)))
#: Seeds that tune, and others that are reported.
TUNING = {"digits": (0, 1, 2), "cifar10_halves": (0, 1)}
REPORTED = tuple(range(10, 20))
#: Seeds of the pretraining; all other plans have the first.
STARTS = tuple(range(3))
LOWER_RATES = (0.05, 0.1)
_FEW, _MANY = ({**DIGITS, "partition.alpha": alpha} for alpha in (0.1, 0.5))
#: The points of `axes` and their length in runs of the digits. The first two are those of `main_tables`.
AXES: Sequence[tuple[Settings, float]] = (
    (_FEW, 1.0),
    (_MANY, 1.0),
    # Under Dirichlet(0.1) no draw gives 50 silos two images each.
    ({**_MANY, "silos": 50, "partition.min_size": 2}, 1.5),
    ({**_MANY, "silos": 5}, 1.0),
    ({**_FEW, "local_epochs": 5}, 4.0),
    ({**_FEW, "fraction_train": 0.2}, 0.5),
)


def best_of(candidates: Sequence[Settings], seeds: Sequence[int], found: Results) -> Settings:
    """Return the candidate that was best over ``seeds``; one of which a run failed or is missing loses."""

    def score(candidate: Settings) -> tuple[float, float]:
        runs = [found.get(Run({**candidate, "seed": seed}).name, {}) for seed in seeds]
        if any("best" not in run for run in runs):
            return -1.0, -1.0
        return statistics.fmean(run["best"] for run in runs), statistics.fmean(run["mean"] for run in runs)

    return max(candidates, key=score)


def reported(arms: Sequence[Settings], found: Results) -> Sequence[int]:
    """Return ten seeds from 10 on; one under which no draw gave every silo enough images is replaced by the next."""

    def is_drawn(seed: int) -> bool:
        runs = (found.get(Run({**arm, "seed": seed}).name, {}) for arm in arms)
        return not any(NO_DRAW in run.get("error", "") for run in runs)

    return list(islice(filter(is_drawn, count(REPORTED[0])), len(REPORTED)))


def tuning_then_reported(task: Settings, candidates: Sequence[Sequence[Settings]], found: Results) -> list[Run]:
    """Return the runs that tune each arm's candidates, and those of the reported seeds at the ones that won."""
    seeds = TUNING[task["experiment"]]
    planned = [Run(PRETRAINING)] if task is HALVES else []
    planned += [Run({**each, "seed": seed}) for arm in candidates for each in arm for seed in seeds]
    chosen = [best_of(arm, seeds, found) for arm in candidates]
    return planned + [Run({**arm, "seed": seed}) for seed in reported(chosen, found) for arm in chosen]


def at_rates(arm: Settings, rates: Sequence[float]) -> list[Settings]:
    """Return ``arm`` at each of ``rates``."""
    return [{**arm, "learning_rate": rate} for rate in rates]


def imagenet_gates(found: Results) -> list[Run]:
    """ImageNet's gates on CIFAR-10: one seed and the middle rate, all rates, two more seeds; then Dirichlet 0.5."""
    again, as_they_are = ({"method.gate_statistics": kind} for kind in ("reestimated", "pretrained"))
    pairs: list[Settings] = [{"method": m, **kind} for kind in (again, as_they_are) for m in ("fedavg", "fedsq")]
    late: Settings = {"method": "fedsq_late_gates", **again}
    others: list[Settings] = [
        {"method": "fedsq", "method.freeze_after": 1, **again},
        *({"method": method, "linear_probing_rounds": 1, **again} for method in ("fedsq", "fedavg")),
    ]

    def runs(alpha: float, arms: Sequence[Settings], rates: Sequence[float]) -> Iterator[Run]:
        named = [{"experiment": "imagenet_gates", "partition.alpha": alpha, **arm} for arm in arms]
        for rate, arm in product(rates, named):
            yield Run({**arm, "learning_rate": rate, "seed": 0})
        for seed, arm in product((1, 2), named):
            yield Run({**best_of(at_rates(arm, rates), [0], found), "seed": seed})

    return [*runs(0.1, [*pairs, late, *others], (0.03, 0.1, 0.01)), *runs(0.5, [*pairs, late], (0.03, 0.1))]


def main_tables(found: Results) -> list[Run]:
    """Both tasks: rates, and the mu of FedProx at FedAvg's rate, are tuned; then ten other seeds at the best."""
    planned = []
    for task, alpha in TASKS:
        name, base = task["experiment"], {**task, "partition.alpha": alpha}
        candidates = [at_rates({**base, **arm}, RATES[name]) for arm in METHODS]
        candidates.append(at_rates({**base, **FROZEN}, FROZEN_RATES[name]))
        fedavg = best_of(candidates[1], TUNING[name], found)
        candidates.append([{**fedavg, "method": "fedprox", "method.mu": mu} for mu in MUS])
        planned += tuning_then_reported(task, candidates, found)
    return list({run.name: run for run in planned}.values())  # the pretraining once


def axes(_: Results) -> list[Run]:
    """One axis at a time on the digits, three seeds, both rates; the points of `main_tables` are their middle."""
    return [
        Run({**point, **arm, "learning_rate": rate, "seed": seed}, times)
        for point, times in AXES
        for seed, rate, arm in product(TUNING["digits"], RATES["digits"], METHODS)
    ]


def decaying_rates(found: Results) -> list[Run]:
    """Both tasks with a rate that decays by a cosine: tuned as in `main_tables`, then the same ten other seeds."""
    planned = []
    for task, alpha in TASKS:
        base = {**task, "partition.alpha": alpha, "learning_rate_schedule": "cosine"}
        candidates = [at_rates({**base, **arm}, RATES[task["experiment"]]) for arm in METHODS]
        planned += tuning_then_reported(task, candidates, found)
    return list({run.name: run for run in planned}.values())  # the pretraining once


def tuned(arm: Settings, alpha: float, found: Results) -> Settings:
    """Return ``arm`` on the digits at the rate that `main_tables` chose for it."""
    return best_of(at_rates({**DIGITS, "partition.alpha": alpha, **arm}, RATES["digits"]), TUNING["digits"], found)


def other_starts(found: Results) -> list[Run]:
    """Take other pretrained networks for the digits: the seeds of `main_tables` share one. Its rates are kept."""
    return [
        Run({**tuned(arm, alpha, found), "backbone.pretraining.seed": start, "seed": seed}, 1.5)
        for alpha, start, seed, arm in product((0.1, 0.5), STARTS[1:], REPORTED[: len(TUNING["digits"])], METHODS)
    ]


def lower_rates(_: Results) -> list[Run]:
    """Take lower rates for FedAvg on the ten seeds: a part of FedSQ's lead may be the choice of FedAvg's rate."""
    return [
        Run({**DIGITS, "partition.alpha": alpha, "method": "fedavg", "learning_rate": rate, "seed": seed})
        for alpha, rate, seed in product((0.1, 0.5), LOWER_RATES, REPORTED)
    ]


#: The plans, in their order.
PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        "imagenet_gates": imagenet_gates,
        "main_tables": main_tables,
        "axes": axes,
        "other_starts": other_starts,
        "lower_rates": lower_rates,
        "decaying_rates": decaying_rates,
    }
)
