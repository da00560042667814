"""``deliveries.json`` of a run with real silos: which silos have the run's model, and which it is owed to."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fedsq_flwr.files import Count, FileModel, Several

DELIVERIES = "deliveries.json"
#: A number of Flower's, which is beyond what other programs read as a number of JSON.
Digits = Annotated[str, Field(pattern=r"^\d{1,20}$")]


class Deliveries(FileModel):
    """What the file holds.

    Attributes
    ----------
    run : str
        The run's number in Flower.
    choice : {"best", "final"}
        Which model it is.
    received : tuple of int
        The silos that keep it, or take no models, by their numbers.
    owed : dict of str to int
        The silos that took part and do not have it: the id of the node, which a key keeps from run to run, and the
        silo's number.
    """

    run: Digits
    choice: Literal["best", "final"]
    received: Several[Count] = ()
    owed: dict[Digits, Count] = Field(default_factory=dict)

    @property
    def checkpoint(self) -> str:
        """The name of the checkpoint that holds the model."""
        return checkpoint_of(self.choice)


def checkpoint_of(choice: str) -> str:
    """Return the name of the checkpoint of the ``best`` or the ``final`` model."""
    return "last" if choice == "final" else choice


def runs_beside(directory: Path) -> list[Path]:
    """Return the other runs in the folder that a run's directory lies in, which have delivered models."""
    return sorted(path.parent for path in directory.parent.glob(f"*/{DELIVERIES}") if path.parent != directory)
