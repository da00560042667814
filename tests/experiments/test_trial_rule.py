"""The rule of one trial round: what it chooses, what its budget leaves it, and which runs it is shown on."""

import pytest

from scripts.experiments.trial_rule import rule_table, trials_of

#: By hand: validation accuracies, test accuracies, drift in the first round.
CURVES = {
    "fedavg": ([0.1, 0.2, 0.3, 0.4], 4.0),
    "fedsq_late_gates": ([0.3, 0.4, 0.5, 0.6], 3.0),
    "fedsq": ([0.5, 0.6, 0.7, 0.8], 2.0),
}


def runs(seed: int, rate: float = 0.1, **drifts: float) -> dict[str, dict[str, object]]:
    made = {}
    for method, (curve, drift) in CURVES.items():
        settings = {"experiment": "digits", "partition.alpha": 0.5, "method": method, "learning_rate": rate}
        made[f"{method} {rate} {seed}"] = {
            "settings": {**settings, "seed": seed},
            "accuracies": curve,
            "test_accuracies": [accuracy - 0.05 for accuracy in curve],
            "mean": sum(curve) / 4,
            "best": curve[-1],
            "final_test": curve[-1] - 0.05,
            "drift": [drifts.get(method, drift), 9.0],
        }
    return made


def test_the_least_drift_is_chosen_and_the_trial_rounds_of_the_others_count() -> None:
    (trial,) = trials_of(runs(10))
    assert trial.choice == trial.best == "fedsq"
    assert trial.mean == pytest.approx((0.1 + 0.3 + 0.5 + 0.6) / 4)
    assert trial.final == pytest.approx(0.55)  # after two of its four rounds
    (other,) = trials_of(runs(10, fedavg=1.0))
    assert other.choice == "fedavg"
    started = {}
    for name, each in runs(10).items():
        started[f"{name} again"] = each | {"settings": each["settings"] | {"backbone.pretraining.seed": 1}}
    assert len(trials_of(runs(10) | started)) == 2
    (equal,) = trials_of(runs(10, fedsq=3.0))
    assert equal.choice == "fedsq_late_gates"


def test_a_trial_has_each_method_at_one_rate_on_one_seed() -> None:
    found = {**runs(10), **runs(11, fedsq=9.0), **runs(0, rate=0.2)}
    assert [(trial.rate, trial.choice) for trial in trials_of(found)] == [
        (0.1, "fedsq"),
        (0.1, "fedsq_late_gates"),
        (0.2, "fedsq"),
    ]
    del found["fedavg 0.2 0"]
    trials = trials_of(found)
    assert len(trials) == 2
    told = rule_table(trials).splitlines()[2]
    assert told.startswith(
        "| digits, Dirichlet(0.5) | 0.1 | 2 | fedsq_late_gates 1, fedsq 1 | 1 of 2 | 0.350 / 0.450 |"
    )
    assert told.endswith("| 0.250 / 0.350 | 0.450 / 0.550 | 0.650 / 0.750 |")
    assert trials_of({}) == []
