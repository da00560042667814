"""The site report: one page at a silo, of its own figures, what left the house, and a model of its own beside."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedsq_flwr.errors import DataError
from fedsq_flwr.privacy.audit import Verified, verify_beside_ledger
from fedsq_flwr.privacy.ledger import AUDIT_NAME
from fedsq_flwr.records.checkpoints import Checkpoints
from fedsq_flwr.records.deliveries import checkpoint_of
from fedsq_flwr.records.own_figures import ABOUT, PREDICTIONS, About, OwnFigures, OwnRound, OwnRun, newest_run
from fedsq_flwr.report import measure_tables, numerals
from fedsq_flwr.report.page import REPORT_NAME, fill, write_figures, write_text
from fedsq_flwr.settings.silo import titled

#: What leaves a silo, by the kind of message that it answers.
_KINDS = {
    "train": "what was learnt: the arrays of the model, training loss, seconds",
    "evaluate": "loss and accuracy on held-out samples, as far as they may leave",
    "query": "which silo this is, its numbers of samples, whether it has a structure",
    "query.statistics": "sums of what enters each batch norm",
    "query.model": "whether it keeps the model that it was given",
    "refusal": "reasons why something was refused, or failed",
}


@dataclass(frozen=True)
class SiteRun:
    """All that the page is made of.

    Attributes
    ----------
    folder : Path
        The run's, in the silo's ``reports``.
    about : About
        What the run is.
    rounds : tuple of OwnRound
        There is at least one.
    given : tuple of str and int, or None
        Which model the silo was given, and of which round.
    audit : Verified or None
        What the audit log says; None without one.
    broken : str or None
        Why the audit log does not hold together.
    """

    folder: Path
    about: About
    rounds: tuple[OwnRound, ...]
    given: tuple[str, int] | None
    audit: Verified | None
    broken: str | None

    @property
    def title(self) -> str:
        """The silo's number and name."""
        return f"silo {self.about.silo}{titled(self.about.name)}"

    @property
    def shown(self) -> OwnRound | None:
        """The round whose figures stand for the run: that of the model that the silo was given, else the last one."""
        known = [line for line in self.rounds if line.federated is not None]
        of_given = [line for line in known if self.given is not None and line.round == self.given[1]]
        return next(reversed(of_given or known), None)

    @property
    def compares(self) -> bool:
        """Whether there is a local model."""
        return any(line.local is not None for line in self.rounds)

    @property
    def left(self) -> list[tuple[str, int, int]]:
        """What left the silo in this run: what it was, how many messages, how many bytes."""
        told = {} if self.audit is None else self.audit.by_run
        rows = [(kind, told.get((self.about.run, kind), (0, 0))) for kind in _KINDS]
        return [(_KINDS[kind], messages, size) for kind, (messages, size) in rows if messages]

    @property
    def predictions(self) -> str | None:
        """The name of the file of predictions, if there is one."""
        return PREDICTIONS if (self.folder / PREDICTIONS).exists() else None


def write_site_report(state: Path, run: str | None = None, *, pdf: bool = False) -> Path:
    """Make ``report.html`` and ``figures/`` of a run at a silo.

    Parameters
    ----------
    state : Path
        The silo's ``state_dir``.
    run : str, optional
        The run's number; by default that of the run that the silo was last at work in.
    pdf : bool
        Whether figures are written as PDF, too.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FedSQError
        If there are no figures, a file is damaged, or the page cannot be written.
    """
    reports = state / "reports"
    site = read_site_run(newest_run(reports) if run is None else OwnRun(reports / run), state)
    target = site.folder / REPORT_NAME
    from fedsq_flwr.report.site_figures import figures_of  # matplotlib takes a second

    pictures = figures_of(site.rounds, site.shown)
    kinds = write_figures(site.folder, [(drawing, "") for drawing, _ in pictures], pdf=pdf)
    command = shlex.join(["fedsq", "report", str(site.folder)])
    values = {"site": site, "figures": pictures, "kinds": kinds, "command": command}
    write_text(
        target,
        fill("site.html", **values, measure=measure_tables, rows=measure_rows(site.shown), recalls=recall_rows(site)),
    )
    return target


def find_site(directory: Path) -> tuple[Path, str | None] | None:
    """Return the ``state_dir`` that a directory is, or that and the run that it is of; None if it is neither."""
    if (directory / ABOUT).is_file():
        return directory.absolute().parent.parent, directory.absolute().name
    return (directory, None) if any(directory.glob(f"reports/*/{ABOUT}")) else None


def read_site_run(run: OwnRun, state: Path) -> SiteRun:
    """Read what a silo knows of a run.

    A damaged audit log is told on the page: it does not hide the other figures.

    Raises
    ------
    DataError
        If the figures are missing or damaged.
    """
    about, rounds = run.about(), tuple(run.rounds())
    if not rounds:
        raise DataError(f"{run.folder}: no round is recorded, so there is nothing to report")
    log, audit, broken = state / "privacy" / AUDIT_NAME, None, None
    if log.exists():
        try:
            audit = verify_beside_ledger(log)[0]
        except DataError as error:
            broken = str(error)
    return SiteRun(run.folder, about, rounds, _given(state / "models" / about.run), audit, broken)


def measure_rows(shown: OwnRound | None) -> list[tuple[str, str, str, str, str]]:
    """Return a row for each measure: its name, then value and interval of the averaged and of the local model."""
    if shown is None or shown.federated is None:
        return []
    return [
        (name, *_told(shown.federated, key), *(_told(shown.local, key) if shown.local else ("", "")))
        for key, name in measure_tables.NAMES.items()
    ]


def recall_rows(site: SiteRun) -> Sequence[tuple[str, str, str]]:
    """Return a row for each class: its name, and the recall of the averaged and of the local model."""
    shown = site.shown
    both = [None if each is None else each.measures for each in (shown.federated, shown.local)] if shown else []
    if not both or both[0] is None:
        return []
    columns = [[] if each is None else [numerals.accuracy(recall) for recall in each.recalls] for each in both]
    return [
        (name, *(column[label] if label < len(column) else "" for column in columns))  # type: ignore[misc]
        for label, name in enumerate(site.about.class_names)
    ]


def _told(figures: OwnFigures, key: str) -> tuple[str, str]:
    if key == "loss":
        return numerals.loss(figures.loss), measure_tables.written(figures.loss_interval)
    if key == "accuracy":
        return numerals.accuracy(figures.accuracy), measure_tables.written(figures.accuracy_interval)
    intervals = figures.measures.intervals if figures.measures else {}
    return numerals.accuracy(getattr(figures.measures, key, None)), measure_tables.written(intervals.get(key))


def _given(model: Path) -> tuple[str, int] | None:
    checkpoints = Checkpoints(model / "checkpoints")
    for choice in ("best", "final"):
        if checkpoints.path(checkpoint_of(choice)).exists():
            return choice, checkpoints.metadata(checkpoint_of(choice)).line.round
    return None
