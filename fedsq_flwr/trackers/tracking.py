"""All trackers of a run: kept in step with its history, and never in its way."""

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from fedsq_flwr.errors import ConfigurationError, RunFailedError
from fedsq_flwr.files import read_as, write_as_json, writing
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.summary import Summary
from fedsq_flwr.records.trackers import TRACKERS, Told, Trackers
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.trackers.content import metrics_of, settings_of, summary_of
from fedsq_flwr.trackers.tracker import Reason, Tracker

log = logging.getLogger(__name__)


class Tracking:
    """Tells each tracker what a run does: its settings on entry, its end on exit.

    A tracker that raises in mid-run costs one line of warning, and is told nothing more. What each was told is
    kept in ``trackers.json``, so that a resumed run goes on where it was, and what a tracker missed, because it
    was not there or had failed, is told later.

    Parameters
    ----------
    trackers : mapping of str to Tracker
        By name.
    settings : RunSettings
        The run's settings.
    directory : RunDirectory
        Its history is what trackers are told.
    warn : callable
        Shows a line to the person who waits.
    """

    def __init__(
        self,
        trackers: Mapping[str, Tracker],
        settings: RunSettings,
        directory: RunDirectory,
        warn: Callable[[str], None],
    ) -> None:
        self._trackers = dict(trackers)
        self._settings = settings
        self._directory = directory
        self._warn = warn
        self._file = directory.path / TRACKERS
        goes_on = settings.resume and self._file.exists()
        self._told = dict(read_as(Trackers, self._file).root) if goes_on else {}

    def __enter__(self) -> Self:
        """Start the trackers.

        Raises
        ------
        ConfigurationError
            If one cannot start; nothing is lost yet.
        """
        told_settings = settings_of(self._settings)
        for name, tracker in list(self._trackers.items()):
            told = self._told.get(name, Told(run=None, round=0))
            try:
                run = tracker.start(self._directory.path.name, told_settings, told.run)
            except Exception as error:
                del self._trackers[name]
                self.__exit__(type(error), error, None)
                raise ConfigurationError(f"trackers={name}: cannot start: {_line(error)}") from error
            self._told[name] = Told(run=run, round=told.round)
        self._remember()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            reason: Reason = "failed" if issubclass(kind, Exception) else "interrupted"
            self._each(lambda _, tracker: tracker.fail(reason))

    def catch_up(self) -> None:
        """Tell each tracker the finished rounds that it was not told yet."""
        if not self._trackers:
            return

        def tell(name: str, tracker: Tracker) -> None:
            for line in self._directory.history.read():
                if line.round > self._told[name].round:
                    tracker.round(line.round, metrics_of(line))
                    self._told[name] = Told(run=self._told[name].run, round=line.round)

        self._each(tell)
        try:
            self._remember()
        except RunFailedError as error:  # a full disk ends the run where it costs numbers, and not here
            self._warn(str(error))

    def finish(self, summary: Summary) -> None:
        """Tell each tracker how the run ended, which did what was asked."""
        self.catch_up()
        self._each(lambda _, tracker: tracker.finish(summary_of(summary)))

    def _each(self, call: Callable[[str, Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                call(name, tracker)
            except (
                Exception
            ) as error:  # whatever a library or service fails with; told, with its traceback in the log
                del self._trackers[name]
                log.warning("the tracker %s failed and is told nothing more", name, exc_info=error)
                self._warn(f"the tracker {name} failed and is told nothing more: {_line(error)}")

    def _remember(self) -> None:
        if self._told:
            with writing(self._file):
                write_as_json(self._file, Trackers(self._told))


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
