"""The report: one self-contained HTML page."""

import shlex
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from fedsq_flwr.errors import DataError
from fedsq_flwr.files import write_whole
from fedsq_flwr.report import captions, numerals
from fedsq_flwr.report.page_style import STYLE
from fedsq_flwr.report.page_template import TEMPLATE
from fedsq_flwr.report.records import Run
from fedsq_flwr.report.rundir import read_run

REPORT_NAME = "report.html"


def write_report(directory: Path) -> Path:
    """Make ``report.html`` in a run's directory from the files there.

    Parameters
    ----------
    directory : Path
        The run's directory. A run that did not finish gets a report that says so.

    Returns
    -------
    Path
        The page, whole: it takes its place in one step.

    Raises
    ------
    DataError
        If a file of the run is missing or broken, or the page cannot be written.
    """
    target = directory / REPORT_NAME
    write_text(target, render(read_run(directory)))
    return target


def render(run: Run) -> str:
    """Make the page's text: the same for the same run, whenever it is made."""
    # Only what is code of this package may stand in the page as it is; all else is escaped.
    style = Markup(STYLE)  # noqa: S704
    return (
        templates()
        .from_string(TEMPLATE)
        .render(
            run=run,
            settings=run.settings,
            summary=run.summary,
            number=numerals,
            caption=captions,
            figures=_figures(run),
            style=style,
            command=f"fedsq report {shlex.quote(str(run.directory))}",
        )
    )


def templates(*, autoescape: bool = True) -> Environment:
    """Make the environment that all templates of the report are rendered in."""
    return Environment(
        autoescape=autoescape,  # noqa: S701 - off for Markdown only
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _figures(run: Run) -> list[tuple[Markup, str]]:
    """Draw the figures and write their captions."""
    # matplotlib takes a second to import, which those who only want the terminal need not wait for.
    from fedsq_flwr.report import diagnosis_figures, figures, partition_figure

    best = run.summary.best_round
    pairs = [
        (figures.accuracy_by_round(run.rounds, best), captions.of_accuracy(run)),
        (figures.loss_by_round(run.rounds, best), captions.of_loss(run)),
    ]
    if run.summary.judged:
        pairs.append((figures.accuracy_by_silo(run.summary), captions.of_silos(run.summary)))
    if run.partition is not None:
        picture = partition_figure.partition_picture(run.partition)
        pairs.append((picture, captions.of_partition(run.partition)))
    diagnoses = [(line.round, line.diagnosis) for line in run.rounds if line.diagnosis is not None]
    if diagnoses:
        pairs.append((diagnosis_figures.flips_by_layer(diagnoses), captions.of_flips(diagnoses, run.settings)))
        pairs.append((diagnosis_figures.averaging_by_round(diagnoses), captions.of_averaging(diagnoses)))
    # matplotlib escapes the texts that it draws.
    return [(Markup(picture), caption) for picture, caption in pairs]  # noqa: S704


def write_text(target: Path, text: str) -> None:
    """Write a page, or another file of a report, in one step.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    try:
        write_whole(target, text.encode())
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror}") from None
