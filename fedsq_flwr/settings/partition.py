"""``partition``: how the training samples are distributed among the silos."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fedsq_flwr.settings.base import Settings, Text
from fedsq_flwr.settings.fields import Fact

Concentration = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class PartitionSettings(Settings):
    """What every partition has settings for."""

    facts: ClassVar[frozenset[Fact]] = frozenset({Fact.CONDITION})

    name: str
    min_size: Annotated[Count, Fact.SHARING] = 10
    """Fewest samples of a silo."""


class DrawnPartition(PartitionSettings):
    """A partition that is drawn from a seed."""

    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of all splits of the data; null: the seed of the run."""


class Iid(DrawnPartition):
    """Equal random parts."""

    name: Annotated[Literal["iid"], Fact.SHARING] = "iid"


class Dirichlet(DrawnPartition):
    """Label skew: each class is distributed by a draw from a Dirichlet distribution."""

    name: Annotated[Literal["dirichlet"], Fact.SHARING] = "dirichlet"
    alpha: Annotated[Concentration, Fact.SHARING] = 0.5
    """Concentration of the distribution: the smaller, the more the silos differ."""


class Pathological(DrawnPartition):
    """Label skew: each silo has samples of a few classes only."""

    name: Annotated[Literal["pathological"], Fact.SHARING] = "pathological"
    classes_per_silo: Annotated[Count, Fact.SHARING] = 2
    """Classes of a silo."""


class Shards(DrawnPartition):
    """Label skew: the samples are sorted by class and cut into shards of equal size."""

    name: Annotated[Literal["shards"], Fact.SHARING] = "shards"
    shards_per_silo: Annotated[Count, Fact.SHARING] = 2
    """Shards of a silo, each of mostly one class."""


class Quantity(DrawnPartition):
    """Quantity skew: the sizes of the silos are a draw from a Dirichlet distribution."""

    name: Annotated[Literal["quantity"], Fact.SHARING] = "quantity"
    alpha: Annotated[Concentration, Fact.SHARING] = 0.5
    """Concentration of the distribution: the smaller, the more the sizes differ."""


class Natural(DrawnPartition):
    """Each silo is a group of the data: a hospital, a camera, a writer."""

    name: Annotated[Literal["natural"], Fact.SHARING] = "natural"
    groups: Annotated[Text, Field(min_length=1), Fact.PLACE, Fact.SHARING] = "groups.csv"
    """CSV file in the folder of images that names the group of each image."""
    merge_groups: Annotated[bool, Fact.SHARING] = False
    """Whether one silo may hold several groups."""


class SavedPartition(PartitionSettings):
    """The partition of another run."""

    name: Annotated[Literal["file"], Fact.SHARING] = "file"
    file: Annotated[Text, Field(min_length=1), Fact.PATH]
    """The run's ``partition.json``, or the run's directory."""


#: A choice of ``partition``, told apart by its name.
AnyPartition = Annotated[
    Iid | Dirichlet | Pathological | Shards | Quantity | Natural | SavedPartition, Field(discriminator="name")
]
