"""Callbacks after each round of a run and after the last round."""

from collections.abc import Callable

from fedsq_flwr.apps.federation import Federation
from fedsq_flwr.assembly.network import describe_weights
from fedsq_flwr.assembly.parts import Parts
from fedsq_flwr.federation.diagnostics import Examiner
from fedsq_flwr.federation.rounds import Round
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.history import Line
from fedsq_flwr.report import report_run


class Callback:
    """Does nothing; subclasses override what they need."""

    def after_round(self, finished: Round) -> None:
        """Process a finished round; later callbacks see what this one adds to it."""

    def after_run(self) -> None:
        """Finish after the last round."""


class Diagnose(Callback):
    """Adds the diagnostics to a round."""

    def __init__(self, examiner: Examiner) -> None:
        self._examiner = examiner

    def after_round(self, finished: Round) -> None:
        """Diagnose the round from the model that was sent, the replies and their average."""
        finished.diagnostics = self._examiner.examine(finished.start, finished.arrays, finished.replies)


class Keep(Callback):
    """Keeps each round in the run's directory, and at the end the summary.

    Parameters
    ----------
    directory : RunDirectory
        Where the run is kept.
    federation : Federation
        What runs the rounds.
    parts : Parts
        What the run started from.
    on_round : callable
        Told the line of each round, once the round is kept: the terminal, for one.
    """

    def __init__(
        self, directory: RunDirectory, federation: Federation, parts: Parts, on_round: Callable[[Line], None]
    ) -> None:
        self._directory = directory
        self._federation = federation
        self._data = parts.data
        self._weights = describe_weights(federation.settings, parts.start)
        self._on_round = on_round

    def after_round(self, finished: Round) -> None:
        """Write checkpoints and the line of the history; then pass the line on."""
        model = self._federation.model
        line = self._directory.keep(finished, model.state(), model.structure(), self._federation.state() or None)
        self._on_round(line)

    def after_run(self) -> None:
        """Write the summary."""
        federation = self._federation
        self._directory.finish(federation.settings, self._data, federation.model, self._weights, federation.audits)


class Report(Callback):
    """Writes the report of the run."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory

    def after_run(self) -> None:
        """Write the report and log its path; a report that cannot be made does not fail the run."""
        report_run(self._directory.path)
