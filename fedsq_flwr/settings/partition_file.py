"""``partition.json``: which silo has which samples. A run writes it, and ``partition.file`` names it."""

import operator
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from fedsq_flwr.files import Count, FileModel, Several
from fedsq_flwr.settings.fields import tags_of, variants_of
from fedsq_flwr.settings.run import RunSettings

PARTITION = "partition.json"
#: The name of the partition of real silos: they have what they have, and say little about it.
REAL_SILOS = "silos"
#: Fields that only some kinds of partition have.
_PARAMETERS = ("alpha", "classes_per_silo", "shards_per_silo", "groups")

Place = Annotated[int, Field(ge=0)]


class PartitionFile(FileModel):
    """What ``partition.json`` holds.

    Attributes
    ----------
    name : str
        Kind of the partition; ``silos`` for real silos.
    alpha, classes_per_silo, shards_per_silo : float or int, optional
        The kind's parameter.
    seed : int, optional
        What all splits of the data were drawn by.
    groups : list of list of str, optional
        For each silo the groups of its samples.
    labels_sha256 : str, optional
        Digest of the labels of all samples that are distributed.
    file : str, optional
        The partition of another run that this one reused.
    class_names : tuple of str
        Names of the classes.
    validation, test : int
        Samples of the server's sets.
    counts : tuple of tuple of int
        For each silo the samples of each class; nothing is known of real silos.
    held_out : tuple of int
        For each silo, how many of its samples are held out.
    indices : tuple of tuple of int
        For each silo its samples' places in the pool, training part first.
    """

    name: str
    alpha: float | None = None
    classes_per_silo: Count | None = None
    shards_per_silo: Count | None = None
    seed: Count | None = None
    groups: Several[Several[str]] | None = None
    labels_sha256: str | None = None
    file: str | None = None
    class_names: Several[str]
    validation: Count
    test: Count
    counts: Several[Several[Count]] = ()
    held_out: Several[Count] = ()
    indices: Several[Several[Place]] = ()

    @property
    def is_known(self) -> bool:
        """Whether it is known which silo has what."""
        return bool(self.counts)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The samples of each silo, those it holds out among them."""
        return tuple(sum(row) for row in self.counts)

    def drawn(self) -> dict[str, Any]:
        """Return how the silos were drawn: the kind, its parameter, the seed; ``alpha`` is None without meaning."""
        variants = variants_of(RunSettings.model_fields["partition"])
        own = {field for kind in variants if self.name in tags_of(kind, "name") for field in kind.model_fields}
        given = {name: getattr(self, name) for name in _PARAMETERS if name in own & self.model_fields_set}
        return {"name": self.name, "alpha": None, **given, "seed": self.seed}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.name == REAL_SILOS and not self.counts:
            return self
        if self.seed is None:
            raise ValueError("the field 'seed' is missing")
        classes, silos, sizes = len(self.class_names), len(self.counts), self.sizes
        if silos == 0 or classes == 0 or any(len(row) != classes for row in self.counts):
            raise ValueError(
                f"'counts' should be equally long lists of {classes} numbers, one a class, a list a silo"
            )
        if len(self.held_out) != silos or any(map(operator.ge, self.held_out, sizes)):
            raise ValueError(f"'held_out' should be {silos} numbers, each below the number of a silo's samples")
        if "indices" in self.model_fields_set and tuple(map(len, self.indices)) != sizes:
            raise ValueError("'indices' should name as many samples of each silo as 'counts'")
        return self
