"""Diagnostics beside the outcome: pairs of one task, rate and seed, ratios and leads by hand, and the figure."""

from pathlib import Path

import pytest

from scripts.experiments import __main__ as command
from scripts.experiments.diagnoses import Pair, flips_table, pairs_of, summary, table
from scripts.experiments.lead_figure import draw
from scripts.experiments.results import RESULTS, keep_result, read_results


def line(method: str, drift: float, mean: float, seed: int = 0, **more: object) -> dict[str, object]:
    settings = {"experiment": "digits", "partition.alpha": 0.1, "method": method, "learning_rate": 0.1, "seed": seed}
    figures = {"mean": mean, "final_test": mean - 0.1, "gap": [None, drift / 10, 9.0], "drift": [drift, 9.0]}
    layers = [[f"relu{number}", number / 10] for number in range(1, 9)]
    return {"settings": {**settings, **more}, "flips": 0.25, "flips_by_layer": layers, **figures}


FOUND = {
    "avg": line("fedavg", 4.0, 0.5),
    "sq": line("fedsq", 2.0, 0.75),
    "late": line("fedsq_late_gates", 8.0, 0.6),
    "other seed": line("fedsq", 2.0, 0.9, seed=1),
    "other rate": line("fedsq", 2.0, 0.9, learning_rate=0.2),
    "other statistics": line("fedsq", 2.0, 0.9, **{"method.gate_statistics": "reestimated"}),
    "no diagnostics": line("fedsq", 2.0, 0.9) | {"gap": None},
    "head first": line("fedavg", 4.0, 0.5, linear_probing_rounds=1),
    "head first, fixed": line("fedsq", 4.0, 0.5, linear_probing_rounds=1),
    "failed": {"settings": {"method": "fedavg"}, "error": "no"},
}


def test_a_pair_shares_task_rate_and_seed() -> None:
    first, second = pairs_of(FOUND)
    assert first == Pair("digits, Dirichlet(0.1)", "fedsq", 0.1, 0.25, 0.25, drift=0.5, gap=0.5, flips=0.25)
    assert (second.method, second.drift, second.lead) == ("fedsq_late_gates", 2.0, pytest.approx(0.1))
    assert (first.foretold, second.foretold) == (True, False)


def test_the_table_has_a_row_for_each_arm_and_the_summary_counts_right_guesses() -> None:
    pairs = pairs_of({**FOUND, "avg1": line("fedavg", 8.0, 0.5, seed=1)})
    told = table(pairs).splitlines()
    assert told[2] == "| digits, Dirichlet(0.1) | fedsq | 0.1 | 2 | 0.35 | 0.35 | 0.25 | +0.325 | +0.325 |"
    assert len(told) == 4
    drift, of_task, gap, _, guesses = summary(pairs).splitlines()
    assert drift == "drift in round 1: rank correlation with the lead -1.00 over 2 rows"
    assert of_task == "  digits, Dirichlet(0.1): -1.00 over 3 pairs"
    assert gap.startswith("averaging gap in rounds 1 and 2: ")
    assert guesses == "the drift in round 1 foretells the better of two: digits, Dirichlet(0.1): 2 of 3"


def test_flips_are_told_by_depth() -> None:
    told = flips_table({"a": FOUND["sq"], "b": line("fedsq", 1.0, 0.5, seed=3)}).splitlines()
    assert told[2:] == ["| digits, Dirichlet(0.1) | fedsq | 0.1 | 2 | 0.15 | 0.35 | 0.55 | 0.75 |"]


def test_the_command_draws_a_figure_of_the_runs_of_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        for method, drift, mean in (("fedavg", 4.0, 0.5), ("fedsq", 2.0, 0.75)):
            settings = {"experiment": "digits", "partition.alpha": 0.1, "method": method, "learning_rate": 0.1}
            name = ",".join(f"{key}={value}" for key, value in {**settings, "seed": seed}.items())
            keep_result(tmp_path / RESULTS, {"name": name, "best": mean, **line(method, drift, mean, seed)})
    words = ["experiments", "diagnoses", "main_tables", "--output", str(tmp_path), "--figure"]
    file = tmp_path / "figures" / "lead.svg"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [*words, str(file)])
        assert command.main() == 0
    assert "| digits, Dirichlet(0.1) | fedsq | 0.1 | 2 |" in capsys.readouterr().out
    assert "<svg" in file.read_text()


def test_what_is_published_gives_the_same_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, found in FOUND.items():
        keep_result(tmp_path / RESULTS, {"name": name, **found, "gap": [1 / 3], "versions": {"python": "3"}})
    keep_result(tmp_path / RESULTS, {"name": "third", **line("fedsq", 1.0, 1 / 3, seed=7)})
    words = ["experiments", "publish", "--output", str(tmp_path), "--into", str(tmp_path / "docs")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", words)
        assert command.main() == 0
    published = read_results(tmp_path / "docs" / RESULTS)
    assert published["avg"]["gap"] == [0.33333]
    assert published["third"]["mean"] == 1 / 3
    assert not {"versions", "flips_by_layer"} & published["avg"].keys()
    assert flips_table(published) == flips_table(read_results(tmp_path / RESULTS))
    assert table(pairs_of(published)) == table(pairs_of(read_results(tmp_path / RESULTS)))


def test_what_is_drawn_is_where_the_numbers_are(tmp_path: Path) -> None:
    """A figure of nothing is no figure either."""
    draw(pairs_of(FOUND), tmp_path / "some.png")
    draw([], tmp_path / "none.png")
    assert (tmp_path / "some.png").stat().st_size > (tmp_path / "none.png").stat().st_size
