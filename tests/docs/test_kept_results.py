"""The tables of the planned runs are those that the kept figures give."""

from pathlib import Path

import pytest

from scripts.experiments import __main__ as command

DOCS = Path(__file__).parents[2] / "docs" / "explanation"


def told(action: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setattr("sys.argv", ["experiments", action, "--output", str(DOCS / "experiments")])
    assert command.main() == 0
    return capsys.readouterr().out.splitlines()


def test_the_page_on_diagnostics_has_the_tables_that_its_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS / "when-fixed-gates-help.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in told("diagnoses", monkeypatch, capsys) if line.startswith("| ")]
    assert len(rows) > 10
    assert [row for row in page if row.startswith("| ")] == rows
