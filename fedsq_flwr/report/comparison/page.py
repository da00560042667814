"""The page of a comparison: one self-contained HTML file."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup, escape

from fedsq_flwr.report import captions as run_captions
from fedsq_flwr.report import numerals
from fedsq_flwr.report.comparison import captions, tables, verdict, wording
from fedsq_flwr.report.comparison.analysis import Comparison, Section
from fedsq_flwr.report.comparison.collecting import Entry, State
from fedsq_flwr.report.comparison.page_template import STYLE as COMPARISON_STYLE
from fedsq_flwr.report.comparison.page_template import TEMPLATE
from fedsq_flwr.report.comparison.settings import POOLED, comparable
from fedsq_flwr.report.comparison.tables import Table
from fedsq_flwr.report.page import REPORT_NAME, templates
from fedsq_flwr.report.page_style import STYLE

LONG = 24  # characters of a word that may be broken

Pictures = list[tuple[Markup, str]]


@dataclass(frozen=True)
class Part:
    """A condition's part of the page."""

    section: Section
    verdict: list[tuple[str, list[str]]]
    main: Table
    full: Table
    figures: Pictures


def render(comparison: Comparison, output: Path, command: str, csv_name: str) -> str:
    """Make the page's text: the same for the same runs, whenever it is made.

    Parameters
    ----------
    comparison : Comparison
        What is shown.
    output : Path
        The directory that the page will lie in: links to the runs' own pages start there.
    command : str
        What remakes the page.
    csv_name : str
        The file of all figures beside it.
    """
    from fedsq_flwr.report.comparison.drawing import draw_overview, draw_partitions, draw_sections

    drawn = draw_sections(comparison)
    parts = [
        Part(
            section,
            verdict.verdict(section, comparison),
            tables.main_table(section, comparison),
            tables.full_table(section, comparison),
            _trusted(pictures),
        )
        for section, pictures in zip(comparison.sections, drawn, strict=True)
    ]
    environment = templates()
    environment.filters["breakable"] = _breakable
    return environment.from_string(TEMPLATE).render(
        comparison=comparison,
        parts=parts,
        overview=_trusted(draw_overview(comparison)),
        partitions=_trusted(draw_partitions(comparison)),
        repeated=[entry for entry in comparison.groups.entries if entry.state is State.REPEATED],
        links=[(entry, _link(entry, output)) for entry in comparison.groups.entries],
        shared=_shared(comparison),
        versions=_versions(comparison),
        on_seeds=verdict.on_seeds(comparison),
        notes=notes(comparison),
        caption=captions,
        wording=wording,
        number=numerals,
        command=command,
        csv_name=csv_name,
        style=_trusted_style(),
    )


def notes(comparison: Comparison) -> list[str]:
    """Return the sentences that say how the figures are to be read."""
    runs = captions.runs(comparison)
    told = [captions.about_choice(comparison), captions.about_tables(comparison), captions.about_baseline(comparison)]
    told += [run_captions.about_batch_norm(run.settings.batch_norm) for run in runs]
    told += [run_captions.about_validation(run.settings) for run in runs]
    return [sentence for sentence in dict.fromkeys(told) if sentence]


def _breakable(text: str) -> Markup:
    """Let a long word break after its underscores."""
    words = (escape(word) for word in text.split(" "))
    return Markup(" ").join(Markup("_<wbr>").join(word.split("_")) if len(word) > LONG else word for word in words)


def _link(entry: Entry, output: Path) -> str:
    """Return the way from the page to a run's own; empty if it has none."""
    page = entry.directory / REPORT_NAME
    if not page.is_file():
        return ""
    return f"./{quote(Path(os.path.relpath(page.resolve(), output.resolve())).as_posix())}"


def _shared(comparison: Comparison) -> list[tuple[str, object]]:
    values = [comparable(entry.values) for entry in comparison.groups.entries if entry.run]
    values.sort(key=lambda each: bool(each.get(POOLED)))  # whose samples are not shared out as those of the others
    return [
        (name, value) for name, value in (values[0] if values else {}).items() if name not in comparison.groups.names
    ]


def _versions(comparison: Comparison) -> list[tuple[str, list[str]]]:
    found: dict[str, dict[str, None]] = {}
    for run in captions.runs(comparison):
        for name, version in run.summary.versions.items():
            found.setdefault(name, {})[version] = None
    return [(name, list(versions)) for name, versions in found.items()]


def _trusted(pictures: list[tuple[str, str]]) -> Pictures:
    # matplotlib escapes the texts that it draws.
    return [(Markup(picture), caption) for picture, caption in pictures]  # noqa: S704


def _trusted_style() -> Markup:
    # Code of this package.
    return Markup(STYLE + COMPARISON_STYLE)  # noqa: S704
