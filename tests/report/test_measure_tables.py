"""The measures on the page and in the terminal, and what chose the best round where that was not the accuracy."""

import io

import numpy as np
import pytest
from rich.console import Console

from fedsq_flwr.files import plain
from fedsq_flwr.learning.measures import Predictions, measure
from fedsq_flwr.records.results import measured_on_test
from fedsq_flwr.report import RoundTable, page, print_summary, read_run
from fedsq_flwr.report.measure_tables import class_rows, measure_rows
from tests.learning.test_measures import drawn


@pytest.fixture(autouse=True)
def no_figures(monkeypatch) -> None:
    monkeypatch.setattr(page, "_figures", lambda _: [])


def told(given: Predictions) -> dict:
    return plain(measured_on_test(given, 0))


def measured(make_run, classes: int = 3, **options):
    files = make_run(rounds=3, silos=2, classes=classes)
    test, validation = told(drawn(0, 60, classes, **options)), told(drawn(1, 60, classes))
    files.summary.update(test_measures=test, final_measures=told(drawn(2, 60, classes)), measures=validation)
    return files


def test_each_measure_has_its_intervals_and_each_class_its_recall(make_run) -> None:
    run, whole = read_run(measured(make_run).write()), measure(drawn(0, 60, 3))
    rows = {row.key: row for row in measure_rows(run.summary)}
    assert rows["macro_f1"].test == f"{whole.macro_f1:.3f}"
    low, high = run.summary.test_measures.intervals["macro_f1"]
    assert rows["macro_f1"].test_interval == f"[{low:.3f}, {high:.3f}]"
    assert rows["accuracy"].test == f"{run.summary.test_accuracy:.3f}"
    assert [row.recall for row in class_rows(run)] == [f"{recall:.3f}" for recall in whole.recalls]
    assert [row.cells for row in class_rows(run)] == list(map(tuple, whole.confusion.tolist()))
    text = page.render(run, [], [])
    assert rows["macro_f1"].test_interval in text
    assert "AUROC is undefined" not in text


def test_classes_have_their_names_also_where_the_silos_shares_are_unknown(make_run) -> None:
    files = measured(make_run)
    files.partition = {"name": "silos", "class_names": ["checks", "noise", "stripes"], "validation": 0, "test": 0}
    assert [row.name for row in class_rows(read_run(files.write()))] == ["checks", "noise", "stripes"]


def test_what_is_undefined_is_said(make_run) -> None:
    text = page.render(read_run(measured(make_run, lacking=1).write()), [], [])
    assert "AUROC is undefined on the test set, where a class has no sample." in text


def test_the_silos_measures_say_that_their_auroc_is_a_mean(make_run) -> None:
    files = make_run(rounds=3, silos=2, classes=3)
    together = {**told(drawn(0, 60, 3)), "auroc_sets": 2}
    files.summary.update(measures=together, held_out_measures=together)
    text = page.render(read_run(files.write()), [], [])
    assert "AUROC is the mean over the silos that have every class (2 of them), weighted by samples" in text
    assert "of all samples that the silos hold out: samples by class (rows)" in text


def test_a_matrix_of_very_many_classes_is_left_to_the_file(make_run) -> None:
    labels = np.arange(40)
    files = make_run(rounds=3, silos=2, classes=3)
    files.summary.update(test_measures=told(Predictions(labels, labels, np.eye(40))))
    run = read_run(files.write())
    assert {row.cells for row in class_rows(run)} == {()}
    assert "the confusion matrix" not in page.render(run, [], [])


def test_an_older_run_has_no_such_table(make_run) -> None:
    run = read_run(make_run().write())
    assert (measure_rows(run.summary), class_rows(run)) == ([], [])
    assert "<summary>Measures</summary>" not in page.render(run, [], [])


def test_a_run_that_stopped_early_is_finished_and_says_why_on_the_page_and_in_the_terminal(make_run) -> None:
    files = measured(make_run)
    files.set(rounds=9, stop_after=2, stop_min_delta=0.1, select_by="macro_f1")
    files.summary.update(rounds=9, stopped=3, select_by="macro_f1")
    run = read_run(files.write())
    assert run.finished
    text = page.render(run, [], [])
    assert "stopped after round 3 of 9: 2 rounds without an improvement of macro-F1 of at least 0.1." in text
    assert f"chose the best round by its macro-F1 ({run.summary.measures.macro_f1:.3f})" in text
    output = io.StringIO()
    print_summary(run.summary, files.directory, Console(file=output, width=200))
    for said in ("stopped early", "round 3 of 9", "3 rounds in", "the best by macro-F1", "test balanced accuracy"):
        assert said in output.getvalue()


def test_the_table_of_rounds_marks_what_is_better_by_the_measure(make_run) -> None:
    lines, output = make_run(rounds=3).lines(), io.StringIO()
    table = RoundTable(3, 2, Console(file=output, force_terminal=True, color_system="standard", width=100), "loss")
    for line, loss in zip(lines, (0.5, 0.7, 0.4), strict=True):
        table.add(line.model_copy(update={"loss": loss}))
    assert sum("\x1b[1;32m" in row for row in output.getvalue().splitlines()) == 2
