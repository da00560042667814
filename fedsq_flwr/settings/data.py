"""``data``: which images a run learns from, and what each silo keeps back to evaluate the model on its own data."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator

from fedsq_flwr.settings.base import Settings, Several, Text
from fedsq_flwr.settings.fields import Fact

Fraction = Annotated[float, Field(gt=0, lt=1)]


def _check_commit(text: str) -> str:
    if re.fullmatch("[0-9a-f]{40}", text) is None:
        raise ValueError("must be a commit of the hub, 40 hexadecimal digits")
    return text


#: A path; it is not empty.
Folder = Annotated[Text, Field(min_length=1)]
#: A commit of the Hugging Face hub.
Commit = Annotated[Text, AfterValidator(_check_commit)]


class DataSettings(Settings):
    """What every data set has settings for."""

    facts: ClassVar[frozenset[Fact]] = frozenset({Fact.CONDITION})

    name: str
    classes: Several[Text] | None = None
    """Names of the classes that count, in the order of the labels; null: all."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many samples outside the test set, classes in proportion; null: all."""
    test_limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many samples of the test set, and of a validation set that comes with the data; null: all."""
    augmentation: Literal["none", "flip", "flip_crop"] = "none"
    """How training images are varied, in every method."""
    held_out_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Fraction of a silo's samples that the silo never trains on and evaluates the model on."""
    min_held_out: Annotated[int, Field(ge=1)] = 5
    """Fewest held-out samples; a silo with fewer than twice this number holds none out."""

    @property
    def title(self) -> str:
        """What people call the data."""
        return self.name

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        names = None if classes is None else {name.strip() for name in classes} - {""}
        if classes is not None and names is not None and not 2 <= len(names) == len(classes):
            raise ValueError("must be null or at least 2 names that differ")
        return classes


class Digits(DataSettings):
    """The 1,797 UCI digits that ship with scikit-learn."""

    name: Literal["digits"] = "digits"


class PublishedData(DataSettings):
    """A data set that others publish: local files, or those of the Hugging Face hub."""

    path: Annotated[Folder | None, Fact.PATH] = None
    """Folder or archive of local files; null: the Hugging Face hub."""
    revision: Commit
    """Commit of the hub, where no path is given."""


class Cifar10(PublishedData):
    """CIFAR-10 (Krizhevsky, 2009)."""

    name: Literal["cifar10"] = "cifar10"
    revision: Commit = "0b2714987fa478483af9968de7c934580d0bb9a2"


class Cifar100(PublishedData):
    """CIFAR-100 (Krizhevsky, 2009), with its 100 fine labels."""

    name: Literal["cifar100"] = "cifar100"
    revision: Commit = "aadb3af77e9048adbea6b47c21a81e47dd092ae5"


class Cinic10(PublishedData):
    """CINIC-10 (Darlow et al., 2018)."""

    name: Literal["cinic10"] = "cinic10"
    revision: Commit = "44c23bab233087df95aad862c5b6fa0e5e6030cf"


class TinyImageNet(PublishedData):
    """Tiny ImageNet (Le and Yang, 2015)."""

    name: Literal["tiny_imagenet"] = "tiny_imagenet"
    revision: Commit = "5a77092c28e51558c5586e9c5eb71a7e17a5e43f"


class ImageFolderData(DataSettings):
    """Images of a user's own: a folder for each class."""

    name: Literal["imagefolder"] = "imagefolder"
    path: Annotated[Folder | None, Fact.PATH] = None
    """Folder of the images; with real silos the server's own, or null if it has none."""
    unreadable: Literal["fail", "skip"] = "fail"
    """What to do with a file that cannot be read: end with an error, or leave the file out and count it."""
    test_fraction: Fraction = 0.2
    """Fraction of the samples for the test set, where there is no folder of test images."""

    @property
    def title(self) -> str:
        """The name of the folder; where only the silos have one, the data's kind."""
        return self.name if self.path is None else Path(self.path).name or self.name


#: A choice of ``data``, told apart by its name.
AnyData = Annotated[
    Digits | Cifar10 | Cifar100 | Cinic10 | TinyImageNet | ImageFolderData, Field(discriminator="name")
]
