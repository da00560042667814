"""The table of one axis at a time: each method at its own best rate, leads paired by seed."""

import pytest

from scripts.experiments.axes_table import axes_table
from scripts.experiments.plans import AXES, METHODS, RATES, TUNING, Run

#: The best accuracy of each method by its rate; those of the seeds differ by hundredths.
BEST = {"fedavg": (0.7, 0.5), "fedsq": (0.6, 0.8), "fedsq_late_gates": (0.7, 0.7)}


@pytest.fixture
def found() -> dict[str, dict[str, object]]:
    """The first point of the axes, hand-made; of `fedsq_late_gates` the rates tie, but for the mean."""
    lines = {}
    for method, figures in BEST.items():
        for rate, best in zip(RATES["digits"], figures, strict=True):
            for seed in TUNING["digits"]:
                settings = {**AXES[0][0], "method": method, "learning_rate": rate, "seed": seed}
                own = best + (seed / 100 if method == "fedsq" else 0)
                figures_of_run = {"best": own, "mean": own - 0.1 + rate / 100, "final_test": own}
                lines[Run(settings).name] = {"settings": settings, **figures_of_run}
    return lines


def test_each_method_is_at_its_best_rate_with_its_lead_over_fedavg(found: dict[str, dict[str, object]]) -> None:
    first, second, *rows = axes_table(found).splitlines()
    assert first.count("|") == second.count("|") == rows[0].count("|")
    assert [row.split(" | ")[1:4] for row in rows] == [
        ["`fedavg`", "0.1", "3"],
        ["`fedsq`", "0.2", "3"],
        ["`fedsq_late_gates`", "0.2", "3"],
    ]
    assert rows[0].endswith("| 0.700 ± 0.000 | 0.700 ± 0.000 |")
    # By hand: 0.11 on average, a deviation of 0.01 over three seeds, and Student's quantile for two degrees 4.303.
    half = 4.303 * 0.01 / 3**0.5
    assert rows[1].endswith(f"| 0.810 ± 0.010 (+0.110 [{0.11 - half:+.3f}, {0.11 + half:+.3f}]) |")
    assert rows[2].endswith("(+0.000 [+0.000, +0.000]) |")


def test_a_point_with_a_run_missing_or_failed_is_left_out(found: dict[str, dict[str, object]]) -> None:
    best = Run({**AXES[0][0], **METHODS[0], "learning_rate": 0.2, "seed": 1}).name
    other = Run({**AXES[0][0], **METHODS[0], "learning_rate": 0.1, "seed": 1}).name
    for name in (best, other):
        found[name] = {"settings": found[name]["settings"], "error": "diverged"}
    assert len(axes_table(found).splitlines()) == 2
    assert len(axes_table({}).splitlines()) == 2
