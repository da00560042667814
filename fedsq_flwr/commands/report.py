"""``fedsq report``: make the page of a run again, or compare several runs."""

import shlex
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

from rich.console import Console

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.records.runs import is_run
from fedsq_flwr.report import write_report
from fedsq_flwr.report.comparison import collect, compare, print_comparison, write_comparison
from fedsq_flwr.report.site import find_site, write_site_report

_COMPARISON = Path("runs", "comparison")


def report(
    directories: Sequence[Path],
    output: Path | None = None,
    target: float | None = None,
    baseline: str | None = None,
    *,
    pdf: bool = False,
) -> None:
    """Write the page of one run into its directory, at the server or a silo, or a comparison of all runs there.

    Parameters
    ----------
    directories : Sequence[Path]
        One run, one directory with runs below it, or several of either; or a silo's ``state_dir``, which means the
        run that the silo was last at work in, or that of a run in its ``reports``.
    output : Path or None
        Where a comparison goes. By default, the comparison of one directory goes there, and that of several into a
        new directory: ``runs/comparison``, or ``runs/comparison-2`` and so on where that exists.
    target : float or None
        The validation accuracy of rounds-to-target, from 0 to 1.
    baseline : str or None
        The method that others are compared with.
    pdf : bool
        Whether figures are written as PDF, too.

    Raises
    ------
    FedSQError
        If an option makes no sense here, or there is nothing to report.
    """
    if target is not None and not 0 < target <= 1:
        raise ConfigurationError(f"--target={target:g}: must be above 0 and at most 1, a validation accuracy")
    console = Console()
    site = find_site(directories[0])
    if len(directories) == 1 and (site or is_run(directories[0])):
        given = {"--output": output, "--target": target, "--baseline": baseline}
        for name, value in given.items():
            if value is not None:
                raise ConfigurationError(f"{name}={value}: is for comparisons, but {directories[0]} is a single run")
        page = write_site_report(*site, pdf=pdf) if site else write_report(directories[0], pdf=pdf)
        console.print(str(page), soft_wrap=True, highlight=False, markup=False)
        return
    goal = output or (directories[0] if len(directories) == 1 else _new_directory())
    if is_run(goal):
        raise ConfigurationError(f"--output={goal}: is a run's directory, whose own report would be lost")
    comparison = compare(collect(directories), target, baseline)
    told = goal if len(directories) > 1 else output
    paths = write_comparison(comparison, goal, _command(directories, told, target, baseline, pdf=pdf), pdf=pdf)
    print_comparison(comparison, paths, console)


def _new_directory() -> Path:
    """Return the path of a directory that does not exist yet: no comparison is written over."""
    numbered = (_COMPARISON.with_name(f"{_COMPARISON.name}-{number}") for number in count(2))
    return next(path for path in chain((_COMPARISON,), numbered) if not path.exists())


def _command(
    directories: Sequence[Path], output: Path | None, target: float | None, baseline: str | None, *, pdf: bool
) -> str:
    """Return the command line that asks for the same again."""
    words = ["fedsq", "report", *map(str, directories)]
    for name, value in (("--output", output), ("--target", target), ("--baseline", baseline)):
        words += [] if value is None else [name, str(value)]
    return shlex.join([*words, "--pdf"] if pdf else words)
