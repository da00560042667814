"""The interface of a tracker."""

from collections.abc import Mapping
from typing import Literal, Protocol

Setting = str | int | float | bool
#: How a run ended that did not do what was asked.
Reason = Literal["failed", "interrupted"]


class Tracker(Protocol):
    """Keeps the figures of one run. `start` comes first; the last call is `finish` or `fail`.

    What a method raises costs the run nothing but this tracker; see `Tracking`.
    """

    def start(self, name: str, settings: Mapping[str, Setting], run: str | None) -> str:
        """Begin a run called ``name``, or go on with ``run``.

        Returns
        -------
        str
            What names this run at the tracker; a resumed run is given it as ``run``.
        """

    def round(self, number: int, metrics: Mapping[str, float]) -> None:
        """Keep the figures of round ``number``, the first being 1. Numbers rise; none comes twice."""

    def finish(self, summary: Mapping[str, float]) -> None:
        """Keep the figures of the whole run, which did what was asked."""

    def fail(self, reason: Reason) -> None:
        """Close a run that did not."""
