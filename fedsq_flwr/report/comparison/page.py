"""The page of a comparison: one self-contained HTML file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup, escape

from fedsq_flwr.report import captions as run_captions
from fedsq_flwr.report.comparison import captions, tables, verdict
from fedsq_flwr.report.comparison.analysis import Comparison, Section
from fedsq_flwr.report.comparison.collecting import Entry, State
from fedsq_flwr.report.comparison.settings import POOLED
from fedsq_flwr.report.comparison.tables import Table
from fedsq_flwr.report.origins import origins
from fedsq_flwr.report.page import REPORT_NAME, fill

if TYPE_CHECKING:
    from fedsq_flwr.report.page import Pictures

CSV_NAME = "report.csv"  # all figures of each run, beside the page
LONG = 24  # characters of a word that may be broken


@dataclass(frozen=True)
class Part:
    """A condition's part of the page."""

    section: Section
    verdict: list[tuple[str, list[str]]]
    main: Table
    full: Table
    figures: "Pictures"


@dataclass(frozen=True)
class Drawn:
    """The figures of a comparison: those of each condition, and the partitions."""

    sections: "list[Pictures]"
    partitions: "Pictures"

    @property
    def all(self) -> "Pictures":
        """Each figure."""
        return [*chain.from_iterable(self.sections), *self.partitions]


def draw(comparison: Comparison) -> Drawn:
    """Draw all figures of a comparison."""
    # matplotlib takes a second to import.
    from fedsq_flwr.report.comparison.figures import draw_partitions, draw_sections

    return Drawn(draw_sections(comparison), draw_partitions(comparison))


def render(comparison: Comparison, drawn: Drawn, kinds: Sequence[str], output: Path, command: str) -> str:
    """Make the page's text: the same for the same runs, whenever it is made.

    Parameters
    ----------
    comparison : Comparison
        What is shown.
    drawn : Drawn
        Its figures.
    kinds : Sequence[str]
        The kinds of files that there are of each figure.
    output : Path
        The directory that the page will lie in: links to the runs' own pages start there.
    command : str
        What makes the page again.
    """
    parts = [
        Part(
            section,
            verdict.verdict(section, comparison),
            tables.main_table(section),
            tables.full_table(section),
            pictures,
        )
        for section, pictures in zip(comparison.sections, drawn.sections, strict=True)
    ]
    return fill(
        "comparison.html",
        comparison=comparison,
        parts=parts,
        overview=tables.overview(comparison),
        partitions=drawn.partitions,
        kinds=kinds,
        methods=[arm.label for arm in comparison.groups.arms],
        repeated=[entry for entry in comparison.groups.entries if entry.state is State.REPEATED],
        links=[(entry, _link(entry, output)) for entry in comparison.groups.entries],
        shared=shared_settings(comparison),
        origins=origins(captions.runs(comparison)),
        on_seeds=verdict.on_seeds(comparison),
        notes=_notes(comparison),
        caption=captions,
        breakable=_breakable,
        command=command,
        csv_name=CSV_NAME,
    )


def shared_settings(comparison: Comparison) -> list[tuple[str, object]]:
    """Return the settings that are the same in all runs."""
    values = [entry.values for entry in comparison.groups.entries if entry.run]
    values.sort(key=lambda each: bool(each.get(POOLED)))  # whose samples are not distributed as those of the others
    first = values[0].items() if values else ()
    return [(name, value) for name, value in first if value is not None and name not in comparison.groups.names]


def _notes(comparison: Comparison) -> list[str]:
    """Return the notes that explain the figures."""
    runs = captions.runs(comparison)
    told = [captions.about_choice(comparison), captions.about_tables(comparison), captions.about_baseline(comparison)]
    told += [run_captions.about_batch_norm(run.settings.batch_norm) for run in runs]
    told += [run_captions.about_validation(run) for run in runs]
    return [sentence for sentence in dict.fromkeys(told) if sentence]


def _breakable(text: str) -> Markup:
    """Let a long word break after its underscores."""
    words = (escape(word) for word in text.split(" "))
    return Markup(" ").join(Markup("_<wbr>").join(word.split("_")) if len(word) > LONG else word for word in words)


def _link(entry: Entry, output: Path) -> str:
    """Return the relative link from the page to a run's own page; empty if there is none."""
    page = entry.directory / REPORT_NAME
    if not page.is_file():
        return ""
    return f"./{quote(Path(os.path.relpath(page.resolve(), output.resolve())).as_posix())}"
