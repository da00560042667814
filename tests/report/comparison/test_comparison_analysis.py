"""Cells, best settings, baselines and targets."""

import csv
import io
from pathlib import Path

import pytest

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.report.comparison import captions, collect, compare
from fedsq_flwr.report.comparison.analysis import Comparison, at_the_edge, tried
from fedsq_flwr.report.comparison.collecting import State
from fedsq_flwr.report.comparison.measures import BEST
from fedsq_flwr.report.comparison.statistics import Spread
from fedsq_flwr.report.comparison.tables import figure, main_table, seeds_of
from fedsq_flwr.report.comparison.verdict import verdict
from fedsq_flwr.report.comparison.writing import runs_csv

OLDER = Path(__file__).parents[2] / "records" / "older" / "before_gated_from.yaml"


def compared(sweep, **options) -> Comparison:
    return compare(collect([sweep.directory]), **options)


def rows(section):
    return {(row.cell.arm.label, row.cell.label): row for row in section.rows}


def test_runs_that_differ_in_the_seed_alone_make_a_cell(sweep):
    for seed, best in enumerate((0.7, 0.8, 0.9)):
        sweep.add(f"{seed}", seed=seed, accuracies=(0.5, best), output=f"runs/{seed}")
    comparison = compared(sweep)
    (section,) = comparison.sections
    (row,) = section.rows
    assert row.spreads["best_accuracy"] == Spread(pytest.approx(0.8), pytest.approx(0.1), 3)
    assert (row.cell.arm.label, row.cell.label, section.condition.label) == ("fedsq", "", "Dirichlet, alpha 0.5")
    assert comparison.groups.names == ()
    assert comparison.groups.seeds == (0, 1, 2)


def test_conditions_methods_and_settings_are_told_apart(sweep):
    for alpha in (0.1, 1.0, 0.5):
        for method in ("fedsq", "fedavg"):
            for rate in (0.05, 0.1):
                name = f"{alpha},{method},{rate}"
                sweep.add(name, method, learning_rate=rate, partition__alpha=alpha, data__limit=100)
    comparison = compared(sweep)
    assert [condition.label for condition in comparison.groups.conditions] == ["alpha 0.1", "alpha 0.5", "alpha 1"]
    assert [arm.label for arm in comparison.groups.arms] == ["fedavg", "fedsq"]
    assert [row.cell.label for row in comparison.sections[0].rows] == ["learning_rate 0.05", "learning_rate 0.1"] * 2
    assert len(comparison.sections[0].best) == 2


def test_a_method_is_named_by_what_differs_within_it(sweep):
    sweep.add("1", "fedavg")
    sweep.add("2", "fedprox", method__aggregation="fedprox", method__mu=0.01)
    sweep.add("3", "fedsq", method__freeze_after=0)
    sweep.add("4", "fedsq", method__freeze_after=3)
    comparison = compared(sweep)
    labels = ["fedavg", "fedprox", "fedsq, freeze_after 0", "fedsq, freeze_after 3"]
    assert [arm.label for arm in comparison.groups.arms] == labels
    assert {row.cell.label for row in comparison.sections[0].rows} == {""}


def test_the_best_setting_is_chosen_on_validation_and_not_on_test(sweep):
    for seed in range(2):
        sweep.add(f"a{seed}", seed=seed, learning_rate=0.05, accuracies=(0.8, 0.7), tests=(0.1, 0.1))
        sweep.add(f"b{seed}", seed=seed, learning_rate=0.1, accuracies=(0.7, 0.7), tests=(0.9, 0.9))
    sweep.add("lucky", learning_rate=0.2, accuracies=(0.99, 0.99))  # one seed is no rival for two
    (section,) = compared(sweep).sections
    assert [row.cell.label for row in section.best] == ["learning_rate 0.05"]


def test_of_settings_that_are_equal_but_for_the_order_of_their_seeds_the_lowest_is_chosen(sweep):
    for rate, counts in ((0.05, (130, 133, 130)), (0.4, (130, 130, 133))):  # sums that differ in the last bit
        for seed, count in enumerate(counts):
            sweep.add(f"{rate}-{seed}", seed=seed, learning_rate=rate, accuracies=(0.1, count / 144))
    (section,) = compared(sweep).sections
    assert [row.cell.label for row in section.best] == ["learning_rate 0.05"]


def test_of_settings_with_equal_means_of_other_values_the_lowest_is_chosen(sweep):
    for rate, counts in ((0.1, (121, 123, 137)), (0.2, (120, 120, 141))):
        for seed, count in enumerate(counts):
            sweep.add(f"{rate}-{seed}", seed=seed, learning_rate=rate, accuracies=(0.1, count / 144))
    (section,) = compared(sweep).sections
    assert [row.cell.label for row in section.best] == ["learning_rate 0.1"]


def test_differences_pair_seeds_with_the_baselines_best_and_with_its_same_setting(sweep):
    for seed in range(3):
        sweep.add(f"a{seed}", "fedavg", seed, learning_rate=0.05, accuracies=(0.5, 0.5 + seed / 16))
        sweep.add(f"b{seed}", "fedavg", seed, learning_rate=0.1, accuracies=(0.25, 0.25))
        sweep.add(f"c{seed}", "fedsq", seed, learning_rate=0.1, accuracies=(0.5, 0.75))
    (section,) = compared(sweep).sections
    best = section.best[1].differences["best_accuracy"]
    assert (best.mean, best.low, best.high, best.n) == (0.1875, 0.125, 0.25, 3)
    same = rows(section)["fedsq", "learning_rate 0.1"].differences["best_accuracy"]
    assert (same.mean, same.low, same.high, same.n) == (0.5, 0.5, 0.5, 3)
    assert section.best[0].differences == {}


def test_frozen_batch_norm_is_compared_with_frozen(sweep):
    for policy, best in (("batch", 0.9), ("frozen", 0.5)):
        for method in ("fedavg", "fedsq"):
            sweep.add(f"{method},{policy}", method, batch_norm=policy, accuracies=(0.4, best))
    (section,) = compared(sweep).sections
    against = {row.cell.arm.label: row.against.arm.label for row in section.best if row.against}
    assert against == {
        "fedsq, batch_norm batch": "fedavg, batch_norm batch",
        "fedsq, batch_norm frozen": "fedavg, batch_norm frozen",
    }


def test_runs_that_never_reach_the_target_are_counted(sweep):
    sweep.add("0", seed=0, accuracies=(0.5, 0.9, 0.9))
    sweep.add("1", seed=1, accuracies=(0.5, 0.6, 0.7))
    for seed in range(2):
        sweep.add(f"avg{seed}", "fedavg", seed, accuracies=(0.9, 0.9, 0.9))
    (section,) = compared(sweep, target=0.9).sections
    avg, sq = section.best
    assert (sq.reached, sq.n) == (1, 2)
    assert sq.spreads["rounds_to_target"].mean == 3.0  # of 2, and of 4 for a run of 3 rounds
    assert "rounds_to_target" not in sq.differences
    assert (avg.reached, avg.spreads["rounds_to_target"].mean) == (2, 1.0)


def test_the_default_target_is_a_share_of_the_best_mean(sweep):
    sweep.add("0", "fedavg", accuracies=(0.5, 0.8))
    sweep.add("1", "fedsq", accuracies=(0.5, 0.9))
    (section,) = compared(sweep).sections
    assert section.target == 0.855


def test_one_lucky_seed_does_not_lead(sweep):
    for seed in range(2):
        sweep.add(f"a{seed}", "fedavg", seed, accuracies=(0.5, 0.6))
        sweep.add(f"b{seed}", "fedprox", seed, accuracies=(0.5, 0.7))
    sweep.add("c", "fedsq", accuracies=(0.5, 0.8))
    (section,) = compared(sweep).sections
    leads = {row.cell.arm.label: figure(row, BEST, section.best).leads for row in section.best}
    assert leads == {"fedavg": False, "fedprox": True, "fedsq": False}


def test_the_edge_of_what_was_tried_is_named(sweep):
    for rate, best in ((0.02, 0.6), (0.05, 0.8), (0.1, 0.7)):
        sweep.add(f"a{rate}", "fedavg", learning_rate=rate, accuracies=(0.5, best))
        sweep.add(f"b{rate}", "fedsq", learning_rate=rate, accuracies=(0.5, 0.5 + rate))
    (section,) = compared(sweep).sections
    assert at_the_edge(section, "learning_rate") == ["fedsq (0.1, the highest)"]
    assert [value for value, _ in tried(section, "learning_rate")[section.best[0].cell.arm]] == [0.02, 0.05, 0.1]


def test_unfinished_runs_are_in_no_mean_and_the_same_run_counts_once(sweep):
    sweep.add("0", seed=0, accuracies=(0.5, 0.8))
    sweep.add("1", seed=0, accuracies=(0.5, 0.8), executor__name="inprocess")
    files = sweep.files("2", seed=1, accuracies=(0.5, 0.9))
    files.stop_after(1)
    files.write()
    comparison = compared(sweep)
    (row,) = comparison.sections[0].rows
    assert (row.n, row.spreads["best_accuracy"].mean) == (1, 0.8)
    assert [entry.state for entry in comparison.groups.entries] == [
        State.FINISHED,
        State.REPEATED,
        State.UNFINISHED,
    ]
    assert comparison.groups.entries[1].problem == "same settings and seed as 0, which is counted"
    assert [entry.name for entry in comparison.incomplete] == ["2"]


def test_the_baseline_is_fedavg_if_it_is_there_and_one_that_is_not_is_an_error(sweep):
    sweep.add("0", "fedsq")
    sweep.add("1", "fedprox")
    assert compared(sweep).baseline is None
    assert compared(sweep, baseline="fedprox").groups.arms[0].method == "fedprox"
    with pytest.raises(
        ConfigurationError, match="--baseline=fedavg: no run has this method; there are fedprox, fedsq"
    ):
        compared(sweep, baseline="fedavg")
    sweep.add("2", "fedavg")
    assert compared(sweep).baseline == "fedavg"


def test_a_pooled_method_stands_in_every_condition_that_differs_in_the_distribution_alone(sweep):
    for alpha in (0.1, 0.5):
        sweep.add(f"fedavg,{alpha}", "fedavg", partition__alpha=alpha, silos=10, method__pooled=False)
    sweep.add(
        "pooled", "centralised", partition__name="iid", silos=1, method__pooled=True, accuracies=(0.9, 0.9, 0.9)
    )
    comparison = compared(sweep)
    assert [section.condition.label for section in comparison.sections] == ["alpha 0.1", "alpha 0.5"]
    for section in comparison.sections:
        assert [row.cell.arm.label for row in section.best] == ["fedavg", "centralised"]
        assert section.best[1].differences["best_accuracy"].n == 1
    assert [entry.state for entry in comparison.groups.entries] == [State.FINISHED] * 3
    told = list(csv.DictReader(io.StringIO(runs_csv(comparison))))
    pooled = [row["condition"] for row in told if row["method"] == "centralised"]
    assert pooled == ["alpha 0.1", "alpha 0.5"]
    assert "10 silos" in captions.common(comparison)


@pytest.mark.parametrize("setting", ["rounds_", "data__limit", "partition__seed"])
def test_a_pooled_method_does_not_stand_beside_other_data_or_splits(sweep, setting):
    sweep.add("fedavg", "fedavg", silos=10, method__pooled=False)
    other = {"rounds_": {"accuracies": (0.5, 0.6, 0.7, 0.8)}}.get(setting, {setting: 7})
    sweep.add("pooled", "centralised", partition__name="iid", silos=1, method__pooled=True, **other)
    assert len(compared(sweep).sections) == 2


def test_pooled_methods_among_themselves_are_compared_as_they_are(sweep):
    for method in ("centralised", "centralised_fixed_gates"):
        sweep.add(method, method, partition__name="iid", silos=1, method__pooled=True)
    (section,) = compared(sweep).sections
    assert len(section.best) == 2
    assert section.condition.label == "equal random shares"


def add_older(sweep, name, *changes):
    """A run whose settings version 0.1 wrote, before there was `method.gated_from`."""
    text = OLDER.read_text().replace("rounds: 10", "rounds: 3").replace("silos: 10", "silos: 2")
    for before, after in changes:
        text = text.replace(before, after)
    (sweep.add(name) / "config.yaml").write_text(text)


def test_what_an_older_version_did_not_know_counts_as_its_default(sweep):
    add_older(sweep, "old")
    sweep.add("new", seed=1, learning_rate=0.2)
    (section,) = compared(sweep).sections
    assert [row.n for row in section.rows] == [2]
    sweep.add("late", learning_rate=0.2, method__gated_from=0.5)
    (section,) = compared(sweep).sections
    assert [(row.cell.label, row.n) for row in section.rows] == [("gated_from 0", 2), ("gated_from 0.5", 1)]


def test_a_removed_setting_that_had_an_effect_is_told_with_the_version_that_reads_it(sweep):
    add_older(sweep, "old")
    add_older(sweep, "gradual", ("release_over: 0", "release_over: 3"))
    comparison = compared(sweep)
    assert [row.n for section in comparison.sections for row in section.rows] == [1]
    (entry,) = comparison.incomplete
    told = "config.yaml: method.release_over=3: was removed; fedsq-flwr 0.1 reads this run"
    assert (entry.name, entry.state, entry.problem) == ("gradual", State.UNREADABLE, told)


def with_f1(files, value):
    told = {"balanced_accuracy": 0.5, "macro_f1": value, "auroc": None, "expected_calibration_error": 0.1}
    files.summary.update(select_by="macro_f1", measures={**told, "recalls": []}, best_loss=1 - value)
    files.set(select_by="macro_f1")
    return files


def test_the_measure_that_chose_the_rounds_chooses_the_settings_and_is_put_into_words(sweep):
    for seed in (0, 1, 2):
        for rate, accuracy, f1 in ((0.1, 0.9, 0.6), (0.2, 0.8, 0.7 + seed / 100)):
            files = sweep.files(f"sq{rate}{seed}", seed=seed, accuracies=[accuracy], learning_rate=rate)
            with_f1(files, f1).write()
        with_f1(sweep.files(f"avg{seed}", "fedavg", seed=seed, accuracies=[0.95]), 0.5).write()
    comparison = compare(collect([sweep.directory]))
    (section,) = comparison.sections
    (best,) = (row for row in section.best if row.cell.arm.method == "fedsq")
    assert best.spreads["macro_f1"].mean == pytest.approx(0.71)
    assert best.spreads["best_accuracy"].mean == pytest.approx(0.8)
    told = dict(verdict(section, comparison))
    assert told["best validation macro-F1"][0].startswith("Highest mean for fedsq")
    assert "Macro-F1" in [measure.title for measure in main_table(section).measures]


def test_of_the_loss_the_lowest_is_the_best(sweep):
    for name, loss in (("fedsq", 0.4), ("fedavg", 0.6)):
        files = sweep.files(name, name, accuracies=[0.9])
        files.summary.update(select_by="loss", best_loss=loss)
        files.set(select_by="loss")
        files.write()
    comparison = compare(collect([sweep.directory]))
    (section,) = comparison.sections
    assert dict(verdict(section, comparison))["best validation loss"][0].startswith("Lowest mean for fedsq (0.400)")


def test_runs_that_were_chosen_by_different_measures_are_different_conditions(sweep):
    sweep.add("a", accuracies=[0.9])
    with_f1(sweep.files("b", accuracies=[0.9]), 0.5).write()
    assert [section.select_by for section in compare(collect([sweep.directory])).sections] == ["accuracy", "macro_f1"]


def test_a_method_lacks_only_seeds_that_somebody_asked_of_it(sweep):
    """One that was run with fewer seeds lacks none; one that died, at whatever point, does."""
    for seed in (0, 1):
        sweep.add(f"avg{seed}", "fedavg", seed)
        sweep.add(f"prox{seed}", "fedprox", seed)
    sweep.add("sq0", "fedsq", 0)
    late = sweep.files("prox2", "fedprox", 2)
    late.stop_after(1)
    late.write()
    early = sweep.add("avg2", "fedavg", 2)
    for name in ("history.jsonl", "summary.json"):
        (early / name).unlink()
    (section,) = compare(collect([sweep.directory])).sections
    told = {row.cell.arm.method: seeds_of(row) for row in section.rows}
    assert told == {"fedavg": "2 of 3", "fedprox": "2 of 3", "fedsq": "1"}
