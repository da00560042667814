"""Writing what a comparison leaves behind."""

from pathlib import Path

from fedsq_flwr.errors import DataError
from fedsq_flwr.report.comparison.analysis import Comparison
from fedsq_flwr.report.comparison.files import markdown, runs_csv
from fedsq_flwr.report.comparison.page import render
from fedsq_flwr.report.page import REPORT_NAME, write_text

CSV_NAME = "report.csv"
MARKDOWN_NAME = "report.md"


def write_comparison(comparison: Comparison, output: Path, command: str) -> list[Path]:
    """Write ``report.html``, ``report.csv`` and ``report.md``, each in one step.

    Parameters
    ----------
    comparison : Comparison
        What is written.
    output : Path
        The directory; it is made if it is not there.
    command : str
        What remakes them, for the page to say.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    DataError
        If one cannot be written.
    """
    contents = {
        REPORT_NAME: render(comparison, output, command, CSV_NAME),
        CSV_NAME: runs_csv(comparison),
        MARKDOWN_NAME: markdown(comparison),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{output}: cannot be made: {error.strerror}") from None
    for name, content in contents.items():
        write_text(output / name, content)
    return [output / name for name in contents]
