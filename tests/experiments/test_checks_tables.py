"""The checks of the ten seeds: leads by pretrained network, with intervals over these, and leads by FedAvg's rate."""

from collections.abc import Mapping

import pytest

from scripts.experiments.checks_tables import rates_table, starts_table
from scripts.experiments.plans import DIGITS, METHODS, RATES, REPORTED, TUNING, Run

Found = dict[str, Mapping[str, object]]
#: The lead of FedSQ from each start.
LEADS = {0: 0.1, 1: 0.2, 2: 0.3}


def keep(found: Found, best: float, **settings: object) -> None:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    run = Run({**DIGITS, "partition.alpha": 0.1, **named})
    found[run.name] = {"settings": run.settings, "best": best, "mean": best, "final_test": best - 0.1}


@pytest.fixture
def found() -> Found:
    """Tuning that chooses the higher rate, ten seeds at it, and three seeds of two more starts."""
    lines: Found = {}
    for arm in METHODS:
        lead = LEADS[0] if arm["method"] == "fedsq" else 0.0
        for rate in RATES["digits"]:
            for seed in TUNING["digits"]:
                keep(lines, rate, **arm, learning_rate=rate, seed=seed)
        for seed in REPORTED:
            keep(lines, 0.5 + lead, **arm, learning_rate=0.2, seed=seed)
        for start in (1, 2):
            more = LEADS[start] if arm["method"] == "fedsq" else 0.0
            for seed in REPORTED[:3]:
                keep(lines, 0.5 + more, backbone__pretraining__seed=start, **arm, learning_rate=0.2, seed=seed)
    for seed in REPORTED:
        keep(lines, 0.55, method="fedavg", learning_rate=0.05, seed=seed)
    return lines


def renamed(found: Found) -> Found:
    """The plan writes the start behind the rate; a name follows the order of the settings."""
    lines: Found = {}
    for line in found.values():
        settings = dict(line["settings"])  # type: ignore[call-overload]
        seed, start = settings.pop("seed"), settings.pop("backbone.pretraining.seed", None)
        settings |= {} if start is None else {"backbone.pretraining.seed": start}
        lines[Run({**settings, "seed": seed}).name] = line
    return lines


def test_the_interval_is_over_starts(found: Found) -> None:
    rows = starts_table(renamed(found)).splitlines()[2:]
    # By hand: 0.2 on average over three starts, a deviation of 0.1, and Student's quantile for two degrees 4.303.
    half = 4.303 * 0.1 / 3**0.5
    told = f"+0.200 [{0.2 - half:+.3f}, {0.2 + half:+.3f}] | +0.10, +0.20, +0.30"
    assert rows[0] == f"| Dirichlet(0.1) | `fedsq` | 3 | {told} | {told} |"
    assert rows[1].startswith("| Dirichlet(0.1) | `fedsq_late_gates` | 3 | +0.000 ")
    assert len(rows) == 2  # of the other alpha there is nothing


def test_a_start_with_a_run_missing_is_left_out(found: Found) -> None:
    lines = renamed(found)
    del lines[next(name for name in lines if "pretraining.seed=2" in name and "method=fedavg" in name)]
    assert [row.split(" | ")[2] for row in starts_table(lines).splitlines()[2:]] == ["2", "2"]


def test_the_lead_is_told_at_each_rate_of_fedavg_that_has_run(found: Found) -> None:
    rows = [row.split(" | ")[1:5] for row in rates_table(renamed(found)).splitlines()[2:]]
    assert rows[:2] == [
        ["`fedsq`", "0.2", "0.05", "+0.050 [+0.050, +0.050]"],
        ["`fedsq`", "0.2", "0.2", "+0.100 [+0.100, +0.100]"],
    ]
    assert len(rows) == 4
