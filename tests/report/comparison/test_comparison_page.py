"""The comparison's page: its numbers, its figures, and that it is harmless and whole."""

import csv
import re

import pytest

from fedsq_flwr.report.comparison import captions, collect, compare, series, verdict, write_comparison
from fedsq_flwr.report.comparison.figures import draw_partitions, draw_sections
from fedsq_flwr.report.comparison.page import shared_settings
from fedsq_flwr.report.comparison.tables import overview
from tests.report.test_report_page import Visible


def compared(sweep, **options):
    return compare(collect([sweep.directory]), **options)


def written(sweep, **options):
    """Write the comparison into the sweep's directory, and return the page."""
    html, _, _ = write_comparison(compared(sweep, **options), sweep.directory, "fedsq report sweep")
    return html.read_text(encoding="utf-8")


@pytest.fixture
def small(sweep):
    """Two methods, three seeds, one run that died."""
    for seed in range(3):
        sweep.add(f"avg{seed}", "fedavg", seed, accuracies=(0.5, 0.5 + seed / 16))
        sweep.add(f"sq{seed}", "fedsq", seed, accuracies=(0.5, 0.75))
    files = sweep.files("sq3", "fedsq", 3, accuracies=(0.5, 0.75))
    files.stop_after(1)
    (files.write() / "failure.json").write_text('{"error": "<b>no</b> reply"}')
    return sweep


def test_the_numbers_are_the_runs_numbers(small):
    seen = Visible(written(small))
    assert "fedavg and fedsq on digits" in seen.text
    assert "0.562 ± 0.062" in seen.text
    assert "0.750 ± 0.000 +0.188 [+0.125, +0.250]" in seen.text
    assert "3 of 4" in seen.text  # seeds
    assert "Target: validation accuracy 0.712, 95 % of the best method's mean." in seen.text


def test_runs_that_went_wrong_are_listed(small):
    text = Visible(written(small)).text
    assert "1 of 7 runs failed or is unfinished." in text
    assert "sq3 failed <b>no</b> reply 1/2 0.500" in text


def test_the_page_needs_nothing_else_and_links_to_the_runs_pages(small):
    (small.directory / "sq1" / "report.html").write_text("its own")
    page = written(small)
    seen = Visible(page)
    assert "http:" not in page
    assert "https:" not in page
    links = [link for link in seen.resources if not link.startswith(("data:image/png", "#"))]
    assert "./sq1/report.html" in links
    assert {link for link in links if link != "./sq1/report.html"} == {
        f"figures/{path.name}" for path in (small.directory / "figures").iterdir()
    }
    assert len(seen.identifiers) == len(set(seen.identifiers))
    for reference in re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', page):
        assert "".join(reference) in seen.identifiers
    assert "default-src 'none'" in page


def test_hostile_names_stay_texts(sweep):
    evil = "<script>alert(1)</script>"
    sweep.add("javascript:alert(1)", method=evil)
    (sweep.directory / "javascript:alert(1)" / "report.html").write_text("its own")
    sweep.add("x | y", "fedavg")
    seen = Visible(written(sweep))
    assert seen.tags.count("script") == 1  # the page's own
    assert evil in seen.text
    assert "./javascript%3Aalert%281%29/report.html" in seen.resources


def test_the_same_runs_give_the_same_files(small):
    first = written(small)
    csv_before = (small.directory / "report.csv").read_text()
    assert written(small) == first
    assert (small.directory / "report.csv").read_text() == csv_before


def test_no_figure_without_something_to_show(sweep):
    sweep.add("0")
    comparison = compared(sweep)
    assert overview(comparison) is None
    ((curves,),) = draw_sections(comparison)
    assert "validation accuracy" in curves[0].inline
    assert "one seed" in curves[1]
    sweep.add("0", accuracies=(0.5,))
    assert draw_sections(compared(sweep)) == [[]]


def test_figures_of_what_there_is(sweep):
    for alpha in (0.1, 0.5):
        for rate in (0.05, 0.1):
            for method in ("fedavg", "fedsq"):
                how = {"learning_rate": rate, "partition__alpha": alpha, "accuracies": (0.5, 0.5 + rate)}
                files = sweep.files(f"{alpha},{rate},{method}", method, **how)
                files.diagnose(["relu"], 1, 2)
                files.write()
    comparison = compared(sweep)
    curves, rates, gates = (picture.inline for picture, _ in draw_sections(comparison)[0])
    assert "fedsq" in curves
    assert "learning rate" in rates
    assert "flipped signs" in gates


def test_nothing_is_tuned_where_each_method_has_one_rate(sweep):
    sweep.add("0", "fedavg", learning_rate=0.05)
    sweep.add("1", "fedsq", learning_rate=0.1)
    comparison = compared(sweep)
    assert len(draw_sections(comparison)[0]) == 1
    assert captions.about_choice(comparison) == ""


def test_runs_that_measured_nothing_are_drawn_all_the_same(sweep):
    for seed in range(2):
        files = sweep.files(f"{seed}", seed=seed)
        files.diagnose(["relu"], 1, 2, 3)
        for line in files.history:
            line.update(accuracy=None)
            line["diagnostics"].update(flip_rate=None, averaging={"gap": None, "spread": None, "relative": None})
        files.summary.update(best_accuracy=None, accuracy_auc=None)
        files.write()
    (section,) = draw_sections(compared(sweep))
    assert len(section) == 2


def test_many_methods_with_long_names_are_told_apart(sweep):
    names = [f"method_number_{number}_with_a_name_that_goes_on_and_on" for number in range(12)]
    for name in names:
        sweep.add(name, name)
    comparison = compared(sweep)
    assert captions.title(comparison) == "12 methods on digits"
    looks = series.looks(comparison.groups.arms)
    assert len(set(looks.values())) == 12
    ((curves, caption),) = draw_sections(comparison)[0]
    assert curves.inline.startswith("<svg")
    assert "no bands" not in caption  # of one seed there are none anyway


def test_a_sweep_of_which_nothing_is_finished_has_a_page(sweep):
    files = sweep.files("0")
    files.stop_after(1)
    files.write()
    (sweep.directory / "1").mkdir()
    (sweep.directory / "1" / "failure.json").write_text('{"error": "no such file"}')
    text = Visible(written(sweep)).text
    assert "2 of 2 runs failed or are unfinished." in text
    assert "No run is finished." in text


def test_the_verdict_goes_no_further_than_the_intervals(sweep):
    for seed in range(3):
        sweep.add(f"avg{seed}", "fedavg", seed, accuracies=(0.5, 0.5 + seed / 16))
        sweep.add(f"sq{seed}", "fedsq", seed, accuracies=(0.5, 0.75))
        sweep.add(f"prox{seed}", "fedprox", seed, accuracies=(0.5, 0.5625))
    sweep.add("once", "fedonce", accuracies=(0.25, 0.25))
    comparison = compared(sweep)
    lines = dict(verdict.verdict(comparison.sections[0], comparison))["best validation accuracy"]
    assert [line.replace("\u00a0", " ").replace("\u2212", "-") for line in lines] == [
        "Highest mean for fedsq (0.750), ahead of the next, fedavg (0.562).",
        "Ahead of fedavg: fedsq +0.188 [+0.125, +0.250].",
        "Not told apart from fedavg by these seeds: fedprox 0.000 [-0.062, +0.062].",
        "Against fedavg, by too few pairs to say more: fedonce -0.250 (1 pair).",
    ]
    assert "25 % of such" in verdict.on_seeds(comparison)


def test_a_higher_mean_over_more_seeds_may_be_behind_at_those_that_both_have(sweep):
    for seed, accuracy in enumerate((0.8, 0.81, 0.82, 0.99, 0.98)):
        sweep.add(f"sq{seed}", "fedsq", seed, accuracies=(0.5, accuracy))
    for seed, accuracy in enumerate((0.84, 0.85, 0.86)):
        sweep.add(f"avg{seed}", "fedavg", seed, accuracies=(0.5, accuracy))
    comparison = compared(sweep)
    lines = dict(verdict.verdict(comparison.sections[0], comparison))["best validation accuracy"]
    lead = "Highest mean for fedsq (0.880), but behind the next, fedavg (0.850, 3 seeds), at the 3 seeds of both."
    assert lines[0] == lead
    assert "25 % of such" in verdict.on_seeds(comparison)  # of three pairs, not of five


def test_two_pairs_say_nothing_about_who_is_ahead(sweep):
    for seed in range(4):
        sweep.add(f"sq{seed}", "fedsq", seed, accuracies=(0.5, 0.75))
        if seed < 2:
            sweep.add(f"avg{seed}", "fedavg", seed, accuracies=(0.5, 0.5))
    assert "shares more than 2 seeds with another: below 3 pairs" in verdict.on_seeds(compared(sweep))


def test_one_seed_says_nothing_about_who_is_ahead(sweep):
    sweep.add("0", "fedavg", accuracies=(0.5, 0.5))
    sweep.add("1", "fedsq", accuracies=(0.5, 0.75))
    comparison = compared(sweep)
    text = " ".join(line for _, lines in verdict.verdict(comparison.sections[0], comparison) for line in lines)
    assert "ahead" not in text.lower()
    assert "nothing is said about who is ahead" in verdict.on_seeds(comparison)


def test_the_csv_has_a_row_a_run_and_the_settings_that_vary(small):
    small.add("iid", "fedavg", 7, accuracies=(0.25, 0.5), partition__name="iid")
    written(small, target=0.7)
    with (small.directory / "report.csv").open(newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert len(rows) == 8
    assert rows["sq1"]["best_accuracy"] == "0.75"
    assert (rows["sq1"]["rounds_to_target"], rows["avg0"]["rounds_to_target"]) == ("2.0", "")
    assert (rows["sq3"]["state"], rows["sq3"]["problem"]) == ("failed", "<b>no</b> reply")
    assert (rows["iid"]["condition"], rows["iid"]["partition.name"], rows["iid"]["seed"]) == (
        "partition iid",
        "iid",
        "7",
    )


def test_markdown_has_the_tables(small):
    small.add("pipe", "a|b")
    written(small)
    text = (small.directory / "report.md").read_text()
    assert "| fedsq | 3 of 4 | **0.750** ± 0.000 +0.188 [+0.125, +0.250] |" in text
    assert "a\\|b" in text
    assert "`sq3`: failed: <b>no</b> reply" in text


def test_of_a_pooled_method_neither_the_one_silo_nor_its_partition_is_shown_as_everybodys(sweep):
    sweep.add("a", "centralised", partition__name="iid", silos=1, method__pooled=True)
    sweep.add("b", "fedsq", silos=10, method__pooled=False)
    comparison = compared(sweep)
    assert dict(shared_settings(comparison))["silos"] == 10
    assert dict(shared_settings(comparison))["partition.name"] == "dirichlet"
    ((_, caption),) = draw_partitions(comparison)
    assert caption.startswith("Dirichlet, alpha 0.5.")


def test_methods_by_conditions_have_a_table_with_differences(sweep):
    for seed in range(3):
        for alpha, gain in ((0.1, 0.25), (0.5, 0.125)):
            sweep.add(f"avg{alpha},{seed}", "fedavg", seed, accuracies=(0.25, 0.5), partition__alpha=alpha)
            sweep.add(f"sq{alpha},{seed}", "fedsq", seed, accuracies=(0.25, 0.5 + gain), partition__alpha=alpha)
    sweep.add("once", "fedonce", accuracies=(0.25, 0.25), partition__alpha=0.5)
    told = overview(compared(sweep))
    assert told.conditions == ("alpha 0.1", "alpha 0.5")
    cells = {method: [figure.value for figure in figures] for method, figures in told.lines}
    assert cells == {"fedavg": ["0.500", "0.500"], "fedonce": ["-", "0.250"], "fedsq": ["0.750", "0.625"]}
    better = dict(told.lines)["fedsq"][0]
    assert (better.below, better.leads) == (("+0.250", "[+0.250, +0.250]"), True)
    seen = Visible(written(sweep)).text
    assert "fedsq 0.750 ± 0.000 +0.250 [+0.250, +0.250] 0.625 ± 0.000 +0.125 [+0.125, +0.125]" in seen
    markdown = (sweep.directory / "report.md").read_text()
    assert "| fedsq | **0.750** ± 0.000 +0.250 [+0.250, +0.250] | **0.625** ± 0.000" in markdown


def test_conditions_without_a_method_in_common_have_no_table(sweep):
    sweep.add("0", "fedavg", partition__alpha=0.1)
    sweep.add("1", "fedsq", partition__alpha=0.5)
    assert overview(compared(sweep)) is None


def test_a_method_can_be_switched_off_in_tables_and_curves(small):
    page = written(small)
    for place, method in enumerate(("fedavg", "fedsq")):
        assert f'<input type="checkbox" value="method-{place}" checked> {method}' in page
        assert page.count(f'<tr class="method-{place}">') == 2  # the best settings, and all of them
        assert page.count(f'<g class="method-{place}">') == 4  # band, line, and both in the legend
    lines = (small.directory / "figures" / "curves-1.csv").read_text().splitlines()
    assert lines[0] == "method,round,seeds,mean,lowest,highest"
    assert lines[2] == "fedavg,2,3,0.5625,0.5,0.625"
