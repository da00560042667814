"""The terminal: rounds as they come, and the summary, in 80 columns."""

import io
import json

import pytest
from rich.console import Console

from fedsq_flwr.records.history import parse_line
from fedsq_flwr.report import RoundTable, print_summary

ESCAPE = "\x1b"


class Counting(io.StringIO):
    """Notes what has been flushed."""

    flushed = ""

    def flush(self):
        self.flushed = self.getvalue()


def show(lines, rounds=10, silos=10, status=(), **options):
    """What a run with these rounds prints."""
    file = Counting()
    with RoundTable(rounds, silos, Console(file=file, width=80, **options)) as table:
        for text in status:
            table.status(text)
        for line in lines:
            table.add(parse_line(json.dumps(line), "a line"))
    return file.getvalue()


def test_a_line_a_round_where_there_is_no_terminal(make_run):
    output = show(make_run().history, status=["starting Ray ..."])
    assert ESCAPE not in output
    assert "\r" not in output
    lines = output.splitlines()
    assert len(lines) == 12
    assert lines[0] == "starting Ray ..."
    assert lines[1].split()[:3] == ["round", "train", "loss"]
    assert all(len(line) <= 80 for line in lines)
    assert len({len(line) for line in lines[1:]}) == 1


def test_a_line_has_the_rounds_numbers(make_run):
    files = make_run(rounds=10, silos=10)
    files.drop(3, 4, "weight nan")
    line = files.history[2]
    row = show([line]).splitlines()[1].split()
    assert row == [
        "3/10",
        f"{line['train_loss']:.3f}",
        f"{line['loss']:.3f}",
        f"{line['accuracy']:.3f}",
        f"{line['test_accuracy']:.3f}",
        "9/10",
        f"{line['seconds']:.1f}",
        "0:18",  # seven rounds of 2.5 s
    ]


def test_every_line_is_flushed_at_once(make_run):
    file = Counting()
    with RoundTable(3, 10, Console(file=file, width=80)) as table:
        table.status("starting Ray ...")
        assert file.flushed == "starting Ray ...\n"
        for number, line in enumerate(make_run(rounds=3).lines(), start=1):
            table.add(line)
            assert len(file.flushed.splitlines()) == number + 2


def test_dropped_replies_take_one_line_below(make_run):
    files = make_run()
    files.drop(1, 4, "weight nan")
    files.drop(1, 7, "weight nan")
    files.drop(1, 2, "timed out")
    lines = show(files.history[:1]).splitlines()
    assert len(lines) == 3
    assert lines[2].strip() == "3 replies not used: silos 4, 7: weight nan; silo 2: timed out"


@pytest.mark.parametrize("terminal", [False, True])
def test_reasons_cannot_steer_the_terminal(make_run, terminal):
    files = make_run()
    files.drop(1, 4, "[red]\x1b]0;title\x07\x1b[2J\r\n[/]")
    output = show(files.history[:1], force_terminal=terminal)
    assert "[red]" in output
    assert "\x1b]0" not in output
    assert "\x1b[2J" not in output
    assert "\x07" not in output


def test_long_reasons_are_cut_in_a_terminal_and_whole_in_a_log(make_run):
    files = make_run()
    files.drop(1, 4, "a very long story " * 10 + "END")
    assert "END" in show(files.history[:1])
    shown = show(files.history[:1], force_terminal=True, legacy_windows=False)
    assert "END" not in shown
    assert "…" in shown


def test_a_resumed_run_tells_the_time_left_from_its_own_rounds(make_run):
    history = make_run(rounds=20).history[14:17]
    for line in history:
        line["seconds"] = 60.0
    lines = show(history, rounds=20).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["15/20", "16/20", "17/20"]
    assert [line.split()[-1] for line in lines[1:]] == ["5:00", "4:00", "3:00"]


def test_the_widest_numbers_fit(make_run):
    line = make_run(rounds=1, silos=100).history[0]
    line.update(round=1000, train_loss=float("nan"), loss=1.5e30, test_accuracy=None, seconds=3599.9, sampled=100)
    lines = show([line], rounds=1000, silos=100).splitlines()
    assert "1000/1000" in lines[1]
    assert "100/100" in lines[1]
    assert len(lines[1]) <= 80


def test_a_terminal_shows_what_is_going_on(make_run):
    output = show(make_run(rounds=2).history, rounds=2, status=["starting Ray ..."], force_terminal=True)
    assert "starting Ray ..." in output
    assert ESCAPE in output
    assert "2/2" in output


def test_the_terminal_is_given_back_after_a_failure(make_run):
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True)
    with pytest.raises(KeyboardInterrupt), RoundTable(2, 10, console) as table:
        table.status("starting Ray ...")
        raise KeyboardInterrupt
    assert file.getvalue().rfind("\x1b[?25h") > file.getvalue().rfind("\x1b[?25l")  # the cursor is back
    console.print("next")
    assert file.getvalue().endswith("next\n")


def summary_of(files):
    file = io.StringIO()
    print_summary(files.summed(), files.directory, Console(file=file, width=80))
    return file.getvalue()


def test_the_summary_fits_and_is_the_files(make_run):
    files = make_run()
    directory = files.write()
    (directory / "report.html").touch()
    output = summary_of(files)
    results, paths = output.split("\n\n")
    assert all(len(line) <= 80 for line in results.splitlines())
    assert f"{files.summary['best_accuracy']:.3f}  round {files.summary['rounds_to_best']}" in results
    assert f"{files.summary['final_accuracy']:.3f}" in results
    assert "109 MB up, 109 MB down" in results
    assert str(directory / "report.html") in paths  # however long
    assert str(directory / "summary.json") in paths
    assert "fedsq report" not in paths


def test_the_summary_says_how_to_make_a_report_that_is_not_there(make_run):
    files = make_run()
    assert f"fedsq report {files.directory}" in summary_of(files)


def test_the_summary_without_held_out_samples(make_run):
    files = make_run()
    for silo in files.summary["per_silo"]:
        silo["accuracy"] = None
    files.summary.update(silo_accuracy_worst=None, silo_accuracy_mean=None)
    assert "worst silo" not in summary_of(files)


def test_the_summary_tells_the_models_epsilon_with_its_unit(make_run):
    files = make_run()
    assert "epsilon" not in summary_of(files)
    files.summary["privacy"] = {"unit": "silo", "epsilon": 3.14159, "delta": 1e-5}
    (line,) = (line for line in summary_of(files).splitlines() if "epsilon" in line)
    assert "epsilon 3.14  unit silo, delta 1e-05, by the server's noise" in line


def test_the_summary_says_whose_figures_are_fair_where_batch_norm_is_local(make_run):
    files = make_run()
    assert "batch norm" not in summary_of(files)
    files.summary["batch_norm"] = "local"
    (line,) = (line for line in summary_of(files).splitlines() if "batch norm" in line)
    assert "local  the silos' own figures are the fair ones" in line
    assert len(line) <= 80


def test_the_summary_tells_the_plain_forms_accuracy_in_one_line(make_run):
    files = make_run()
    files.write()
    assert "own ReLUs" not in summary_of(files)
    names = ("plain_best_accuracy", "plain_test_accuracy", "plain_final_validation_accuracy", "plain_final_accuracy")
    files.summary.update(zip(names, (0.91, 0.82, 0.73, 0.64), strict=True))
    results = summary_of(files).split("\n\n")[0].splitlines()
    assert "  test with its own ReLUs    0.820  of the best; final 0.640 (plain form)" in results
    assert all(len(line) <= 80 for line in results)
