"""The paired comparison of experiments: pairs by seed, exact p-values, and their correction."""

import pytest

from scripts.experiments.pairs import difference, holm, tables

#: Hand-made: FedSQ is ahead by a tenth for each of ten seeds, and half a tenth more for one.
SEEDS = range(10, 20)


def line(method: str, seed: int, best: float, **more: object) -> dict[str, object]:
    settings = {"experiment": "digits", "partition.alpha": 0.1, "method": method, "learning_rate": 0.1, "seed": seed}
    figures = {"mean": best - 0.1, "best": best, "rounds_to_best": 2, "test_of_best": best, "final_test": best}
    return {"settings": {**settings, **more}, "accuracies": [best - 0.1, best], **figures}


def test_an_arm_that_is_ahead_for_each_of_ten_seeds_has_the_least_p_value_that_ten_pairs_can_have() -> None:
    found = difference([0.6] * 9 + [0.65], [0.5] * 10)
    assert found.mean == pytest.approx(0.105)
    assert found.p == pytest.approx(2 / 2**10)
    # By hand: the deviation of the mean is 0.015811 / sqrt(10), and Student's quantile for 9 degrees 2.262.
    assert found.low == pytest.approx(0.105 - 2.262 * 0.005, abs=1e-5)
    assert found.high == pytest.approx(0.105 + 2.262 * 0.005, abs=1e-5)
    assert difference([1, 0, 1], [0, 1, 0]).p == 1.0
    assert difference([1, 1], [1, 1]).p == 1.0


def test_holms_correction_is_that_of_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_pairs_are_of_one_seed_and_tuning_seeds_are_left_out_where_there_are_others() -> None:
    lines = {}
    for seed in SEEDS:
        lines[f"q{seed}"] = line("fedsq", seed, 0.9 if seed > 10 else 0.95)
        lines[f"a{seed}"] = line("fedavg", seed, 0.8)
    lines["tuned"] = line("fedsq", 0, 0.1)
    lines["slow"] = line("fedprox", 10, 0.7) | {"settings": line("fedprox", 10, 0.7, **{"method.mu": 1})["settings"]}
    lines["failed"] = {"settings": line("fedsq", 99, 0)["settings"], "error": "no"}
    told = tables(lines, lines, tuning=[0, 1, 2])
    assert told.startswith("| digits, Dirichlet(0.1) | rate | n | mean of the rounds |")
    rows = {row.split(" | ")[0]: row for row in told.splitlines() if row.startswith("| `")}
    assert "| 0.1 | 10 | 0.700 ± 0.000 | 0.800 ± 0.000 | 2.0 ± 0.0 |" in rows["| `fedavg`"]
    assert "| 10 | 0.805 ± 0.016 (+0.105 [+0.094, +0.116], p 0.010) | 0.905 " in rows["| `fedsq`"]
    assert "| 2.0 ± 0.0 (+0.0 [+0.0, +0.0], p 1) |" in rows["| `fedsq`"]
    assert rows["| `fedsq`"].endswith("| 1.0 |")  # rounds to 0.95 of FedAvg's best
    assert len(rows) == 2  # one pair shows nothing
    assert tables(["tuned"], lines, tuning=[0]) == ""
