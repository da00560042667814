"""The account of one exchange of messages between the server and the silos."""

from dataclasses import dataclass, field
from typing import Any, Literal

from fedsq_flwr.settings.silo import titled


@dataclass(frozen=True)
class InProgress:
    """An exchange that goes on.

    Attributes
    ----------
    round : int
        From 1.
    doing : {"training", "evaluating"}
        What the silos were asked for.
    asked, awaited : tuple of int
        The silos that were asked, and those that have not answered yet.
    failed : dict of int to str
        Why those failed that did.
    """

    round: int
    doing: Literal["training", "evaluating"]
    asked: tuple[int, ...]
    awaited: tuple[int, ...]
    failed: dict[int, str]


@dataclass
class Exchange:
    """The account of one exchange of messages with the silos, by partition id.

    Attributes
    ----------
    sampled : list of int
        The silos that were asked.
    metrics : dict
        The metrics of each silo whose reply was used.
    dropped : dict
        Why each other silo's reply was not.
    names : dict
        The names of those silos that have one.
    """

    sampled: list[int] = field(default_factory=list)
    metrics: dict[int, dict[str, Any]] = field(default_factory=dict)
    dropped: dict[int, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def reasons(self) -> str:
        """Return each reason of `dropped` once, with its silos: often all have the same."""
        silos: dict[str, list[str]] = {}
        for silo, reason in sorted(self.dropped.items()):
            silos.setdefault(reason, []).append(f"{silo}{titled(self.names.get(silo))}")
        return "; ".join(f"silo{'s' if who[1:] else ''} {', '.join(who)}: {reason}" for reason, who in silos.items())
