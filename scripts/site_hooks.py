"""Hooks of mkdocs: pages show the help that each command prints, a silo's settings, and the decision records."""

import contextlib
import io
import os
import re
from pathlib import Path

from fedsq_flwr.cli import main
from fedsq_flwr.settings.fields import MISSING, catalogue
from fedsq_flwr.settings.mistakes import allowed_values, written
from fedsq_flwr.settings.silo import SiloSettings

_HELP = re.compile(r"^::: help( [a-z]+)?$", re.M)
_DECISIONS = Path(__file__).parents[1] / "docs" / "decisions"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in what lines such as ``::: help run`` ask for; other lines with ``:::`` are mkdocstrings'."""
    filled = _HELP.sub(lambda found: f"```text\n{help_of(found[1])}\n```", markdown)
    for name, write in {"silo settings": silo_settings, "records": records}.items():
        line = f"::: {name}\n"
        filled = filled.replace(line, f"{write()}\n") if line in filled else filled
    return filled


def help_of(command: str | None) -> str:
    """Return what ``fedsq COMMAND --help`` prints in 80 columns, without the lists of settings."""
    os.environ["COLUMNS"] = "80"
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([*(command or "").split(), "--help"])
    return re.split("^(?:Choices, GROUP=NAME|Settings, NAME=VALUE)", out.getvalue(), flags=re.M)[0].strip()


def records() -> str:
    """Return a table of the decision records: number, title with a link, area."""
    rows = []
    for file in sorted(_DECISIONS.glob("[0-9]*.md")):
        heading, area = re.findall(r"^(?:# |Area: )(.+)$", file.read_text(encoding="utf-8"), re.M)[:2]
        number, _, title = heading.partition(". ")
        rows.append(f"| {number} | [{title}]({file.name}) | {area} |")
    return "\n".join(["| | decision | area |", "|---|---|---|", *rows])


def silo_settings() -> str:
    """Return a table of the settings of a silo."""
    rows = []
    for name, entry in catalogue(SiloSettings).items():
        default = "required" if entry.default == MISSING else written(entry.default)
        rows.append(f"| `{name}` | {default} | {allowed_values(entry)} | {entry.description.replace('``', '`')} |")
    return "\n".join(["| setting | default | values | meaning |", "|---|---|---|---|", *rows])
