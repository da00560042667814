"""What kinds of partition there are, and which of them is wanted."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

PARTITIONS = ("iid", "dirichlet", "pathological", "shards", "quantity", "natural")

#: What each kind depends on beside the seed and the silos, under its name in the settings.
PARAMETERS: Mapping[str, str] = MappingProxyType(
    {"dirichlet": "alpha", "quantity": "alpha", "pathological": "classes_per_silo", "shards": "shards_per_silo"}
)


@dataclass(frozen=True)
class PartitionPlan:
    """How samples are to be shared out. A kind looks at its own parameter only.

    Attributes
    ----------
    name : str
        One of `PARTITIONS`.
    silos : int
        Number of silos.
    min_size : int
        Fewest samples of a silo, >= 1.
    alpha : float
        Dirichlet concentration, > 0: of each class (``dirichlet``) or of the silos' sizes (``quantity``).
    classes_per_silo : int
        Classes of each silo (``pathological``).
    shards_per_silo : int
        Shards of each silo (``shards``).
    merge_groups : bool
        Whether several groups may be one silo (``natural``).
    """

    name: str
    silos: int
    min_size: int
    alpha: float
    classes_per_silo: int
    shards_per_silo: int
    merge_groups: bool

    def describe(self, seed: int) -> dict[str, Any]:
        """Return the kind, its parameter and the seed; ``alpha`` is None where it has no meaning."""
        own = {parameter: getattr(self, parameter) for kind, parameter in PARAMETERS.items() if kind == self.name}
        return {"name": self.name, "alpha": None, **own, "seed": seed}
