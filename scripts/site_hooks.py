"""Hooks of mkdocs: pages show the help that each command prints, and the list of decision records."""

import contextlib
import io
import os
import re
from pathlib import Path

from fedsq_flwr.cli import main

_HELP = re.compile(r"^::: help( [a-z]+)?$", re.M)
_RECORDS = re.compile(r"^::: records$", re.M)
_DECISIONS = Path(__file__).parents[1] / "docs" / "decisions"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the help of a command in the place of ``::: help COMMAND``, and the records in that of ``::: records``."""
    with_help = _HELP.sub(lambda found: f"```text\n{help_of(found[1])}\n```", markdown)
    return _RECORDS.sub(lambda _: records(), with_help)


def help_of(command: str | None) -> str:
    """Return what ``fedsq COMMAND --help`` prints in 80 columns; of a run without the list of its settings."""
    os.environ["COLUMNS"] = "80"
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([*(command or "").split(), "--help"])
    return out.getvalue().partition("\nChoices, GROUP=NAME:")[0].strip()


def records() -> str:
    """Return a table of the decision records: number, title with a link, area."""
    rows = []
    for file in sorted(_DECISIONS.glob("[0-9]*.md")):
        heading, area = re.findall(r"^(?:# |Area: )(.+)$", file.read_text(encoding="utf-8"), re.M)[:2]
        number, _, title = heading.partition(". ")
        rows.append(f"| {number} | [{title}]({file.name}) | {area} |")
    return "\n".join(["| | decision | area |", "|---|---|---|", *rows])
