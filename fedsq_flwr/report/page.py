"""The report of a run: one self-contained HTML page."""

import base64
import hashlib
import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound, select_autoescape
from markupsafe import Markup

from fedsq_flwr.errors import DataError, FedSQError
from fedsq_flwr.files import write_whole
from fedsq_flwr.records.summary import SUMMARY
from fedsq_flwr.report import captions, measure_tables, numerals
from fedsq_flwr.report.origins import origins
from fedsq_flwr.report.run import Run, read_run

if TYPE_CHECKING:
    from fedsq_flwr.report.svg import Drawing

    Pictures = list[tuple[Drawing, str]]

REPORT_NAME, FIGURES = "report.html", "figures"
TEMPLATES = Path(__file__).parent / "templates"

log = logging.getLogger(__name__)


def write_report(directory: Path, *, pdf: bool = False) -> Path:
    """Make ``report.html`` and ``figures/`` in a run's directory from the files there.

    Parameters
    ----------
    directory : Path
        The run's directory. A run that did not finish gets a report that says so.
    pdf : bool
        Whether figures are written as PDF, too.

    Returns
    -------
    Path
        The page, whole: it takes its place in one step.

    Raises
    ------
    FedSQError
        If a file of the run is missing or damaged, or the page cannot be written.
    """
    run, target = read_run(directory), directory / REPORT_NAME
    pictures = _figures(run)
    kinds = write_figures(directory, pictures, pdf=pdf)
    write_text(target, render(run, pictures, kinds))
    return target


def report_run(directory: Path, warn: Callable[[str], None] = log.warning) -> None:
    """Make the page of a run that has just ended, unless it is made already. The run does not fail for want of it.

    The server app makes the page where the run's directory is. In Flower's bundle of a checkout it has no templates,
    and the command that started the run makes the page.
    """
    page, summary = directory / REPORT_NAME, directory / SUMMARY
    with not_at_the_runs_cost(directory, warn):
        if not page.exists() or page.stat().st_mtime_ns < summary.stat().st_mtime_ns:
            log.info("the report is %s", write_report(directory))


@contextmanager
def not_at_the_runs_cost(directory: Path, warn: Callable[[str], None] = log.warning) -> Iterator[None]:
    """Turn whatever goes wrong with a page into one line of warning: the numbers of the run are safe."""
    try:
        yield
    except Exception as error:  # of matplotlib, jinja2, the disk: a page is no run
        name = "" if isinstance(error, FedSQError | OSError) else f"{type(error).__name__}: "
        told = " ".join(f"{name}{error}".split())
        log.info("what became of the report", exc_info=error)
        warn(f"there is no report: {told}; fedsq report {shlex.quote(str(directory))} makes it")


def render(run: Run, pictures: "Pictures", kinds: Sequence[str]) -> str:
    """Make the page's text, with the figures and the kinds of files that there are of each.

    It is the same for the same run, whenever it is made.
    """
    return fill(
        "page.html",
        run=run,
        settings=run.settings,
        summary=run.summary,
        figures=pictures,
        kinds=kinds,
        caption=captions,
        measure=measure_tables,
        origins=origins([run]),
        command=shlex.join(["fedsq", "report", str(run.directory), *(["--pdf"] if "pdf" in kinds else [])]),
    )


def fill(template: str, **values: Any) -> str:
    """Fill a template of this package. What is not Markdown is HTML, and values are escaped in it.

    Raises
    ------
    DataError
        If the templates are not here. Flower's bundle of a checkout leaves them out.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(disabled_extensions=("md", "js"), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        page, script = environment.get_template(template), environment.get_template("page.js").render()
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        trusted = {"script": Markup(script), "script_sha256": digest}  # noqa: S704 - a file of this package
        return page.render(number=numerals, **trusted, **values)
    except TemplateNotFound as error:
        raise DataError(f"{TEMPLATES}: has no {error.name}, as in Flower's bundle of a checkout") from error


def _figures(run: Run) -> "Pictures":
    """Draw the figures and write their captions."""
    # matplotlib takes a second to import. The terminal's report does without it.
    from fedsq_flwr.report import figures, heat_maps

    pairs = [
        (figures.accuracy_by_round(run.rounds, run.best_round), captions.of_accuracy(run)),
        (figures.loss_by_round(run.rounds, run.best_round), captions.of_loss(run)),
    ]
    if run.summary.evaluated_silos:
        pairs.append((figures.accuracy_by_silo(run.summary), captions.of_silos(run.summary)))
    if run.partition is not None:
        pairs.append((heat_maps.partition_picture(run.partition), captions.of_partition(run.partition)))
    diagnoses = [(line.round, line.diagnostics) for line in run.rounds if line.diagnostics is not None]
    if diagnoses:
        pairs.append((heat_maps.flips_by_layer(diagnoses), captions.of_flips(diagnoses, run.settings)))
        pairs.append((figures.averaging_by_round(diagnoses), captions.of_averaging(diagnoses)))
    return pairs


def write_figures(directory: Path, pictures: "Pictures", *, pdf: bool) -> list[str]:
    """Write each figure into ``figures/`` as SVG and CSV, and as PDF if asked; return the kinds.

    A PDF of an earlier report that would not fit the page any more is removed.

    Raises
    ------
    DataError
        If one cannot be written.
    """
    place, kinds = directory / FIGURES, ["svg", *(["pdf"] if pdf else []), "csv"]
    try:
        if pictures:
            place.mkdir(parents=True, exist_ok=True)
        for drawing, _ in pictures:
            for kind in kinds:
                write_whole(place / f"{drawing.name}.{kind}", drawing.file(kind))
            if not pdf:
                (place / f"{drawing.name}.pdf").unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{error.filename or place}: cannot be written: {error.strerror}") from None
    return kinds


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
