"""The account of one exchange of messages between the server and the silos."""

from dataclasses import dataclass, field
from typing import Any

from fedsq_flwr.settings.silo import titled


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
