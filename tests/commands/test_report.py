"""``fedsq report``: one run, or many."""

import shutil
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from tests.report.conftest import RunFiles


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return RunFiles(tmp_path / "sweep" / "a", 2, 2, 2).write()


def lines(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_one_run_gets_its_own_page(run, capsys):
    assert main(["report", str(run)]) == 0
    assert lines(capsys) == [str(run / "report.html")]
    assert not (run / "report.csv").exists()


def test_a_directory_of_runs_gets_a_comparison_and_the_runs_keep_theirs(run, capsys):
    (run / "report.html").write_text("its own")
    (run.parent / "b").mkdir()
    (run.parent / "b" / "failure.json").write_text('{"error": "no such weights"}')
    assert main(["report", str(run.parent)]) == 0
    said = lines(capsys)
    assert said[said.index("1 of 2 runs failed or is unfinished") + 1] == "  b: failed: no such weights"
    assert said[-3:] == [str(run.parent / name) for name in ("report.html", "report.csv", "report.md")]
    assert max(map(len, said[:-3])) <= 80
    assert (run / "report.html").read_text() == "its own"
    assert main(["report", str(run.parent)]) == 0  # its own files are in nobody's way


def test_several_runs_are_compared_where_one_says_or_in_a_new_directory(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    other = shutil.copytree(run, tmp_path / "other")
    for place in ("runs/comparison", "runs/comparison-2"):
        assert main(["report", str(run), str(other)]) == 0
        assert lines(capsys)[-3:] == [f"{place}/{name}" for name in ("report.html", "report.csv", "report.md")]
        assert f"fedsq report {run} {other} --output {place}" in Path(place, "report.html").read_text()
    goal = tmp_path / "new" / "goal"
    assert main(["report", str(run), str(other), "--output", str(goal), "--target", "0.5"]) == 0
    assert f"fedsq report {run} {other} --output {goal} --target 0.5" in (goal / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{run}", "--target", "0.5"], "--target=0.5: is for comparisons, but"),
        (["{sweep}", "--target", "95"], "--target=95: must be above 0 and at most 1"),
        (["{sweep}", "--baseline", "fedfoo"], "--baseline=fedfoo: no run has this method; there are fedsq"),
        (["{sweep}", "--output", "{run}"], "is a run's directory, whose own report would be lost"),
        (["{sweep}/nothing"], "no such directory"),
        (["{sweep}/empty"], "no run is in or below it"),
        (["{sweep}", "--output", "{run}/config.yaml"], "cannot be"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(run, capsys, words, told):
    (run.parent / "empty").mkdir()
    assert main(["report", *(word.format(run=run, sweep=run.parent) for word in words)]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
