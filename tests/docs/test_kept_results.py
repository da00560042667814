"""The tables of the planned runs are those that the kept figures give."""

from pathlib import Path

import pytest

from scripts.experiments import __main__ as command

DOCS = Path(__file__).parents[2] / "docs" / "explanation"


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (["diagnoses"], "when-fixed-gates-help.md"),
        (["pairs", "main_tables"], "results.md"),
        (["axes"], "results.md"),
        (["checks"], "results.md"),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_the_pages_have_the_tables_that_their_commands_print(
    words: list[str], page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["experiments", *words, "--output", str(DOCS / "experiments")])
    assert command.main() == 0
    tables = [part for part in capsys.readouterr().out.split("\n\n") if part.startswith("| ")]
    assert tables
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [table.strip() for table in tables if f"\n\n{table.strip()}\n\n" not in text] == []
