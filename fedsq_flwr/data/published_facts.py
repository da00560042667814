"""Facts of the data sets that others publish, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class BinaryArchive:
    """The plain bytes in which CIFAR is published: of each image its labels, a byte each, and its pixels.

    Attributes
    ----------
    archive, folder : str
        Name of the file, and of the folder within it.
    files : mapping of str to tuple of str
        For each part, its files.
    names : str
        File of the names of the classes, one a line.
    labels : int
        Labels of an image; the last is its class.
    pickled : tuple of str
        Names of the archive and folder of the same images that Python would have to unpickle.
    """

    archive: str
    folder: str
    files: Mapping[str, tuple[str, ...]]
    names: str
    labels: int
    pickled: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """Facts about a data set.

    Attributes
    ----------
    repository : str
        On the Hugging Face hub, as parquet files.
    image, label : str
        Columns there.
    size : int
        Pixels a side of every image; all have three channels.
    parts : mapping of str to tuple of str
        For each of ``train``, ``validation`` and ``test`` that there is, what files and folders of it are
        called; the hub's name comes first.
    binary : BinaryArchive, optional
        Another form in which it is published.
    """

    repository: str
    image: str
    label: str
    size: int
    parts: Mapping[str, tuple[str, ...]]
    binary: BinaryArchive | None = None


_TWO_PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType({"train": ("train",), "test": ("test",)})

#: Data sets by their name in ``data.name``. Tiny ImageNet's own test labels are not public: its validation images
#: are the test set, as is usual.
PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "cifar10": Published(
            repository="uoft-cs/cifar10",
            image="img",
            label="label",
            size=32,
            parts=_TWO_PARTS,
            binary=BinaryArchive(
                archive="cifar-10-binary.tar.gz",
                folder="cifar-10-batches-bin",
                files={
                    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
                    "test": ("test_batch.bin",),
                },
                names="batches.meta.txt",
                labels=1,
                pickled=("cifar-10-batches-py", "cifar-10-python.tar.gz"),
            ),
        ),
        "cifar100": Published(
            repository="uoft-cs/cifar100",
            image="img",
            label="fine_label",
            size=32,
            parts=_TWO_PARTS,
            binary=BinaryArchive(
                archive="cifar-100-binary.tar.gz",
                folder="cifar-100-binary",
                files={"train": ("train.bin",), "test": ("test.bin",)},
                names="fine_label_names.txt",
                labels=2,
                pickled=("cifar-100-python", "cifar-100-python.tar.gz"),
            ),
        ),
        "cinic10": Published(
            repository="flwrlabs/cinic10",
            image="image",
            label="label",
            size=32,
            parts={"train": ("train",), "validation": ("validation", "valid"), "test": ("test",)},
        ),
        "tiny_imagenet": Published(
            repository="zh-plus/tiny-imagenet",
            image="image",
            label="label",
            size=64,
            parts={"train": ("train",), "test": ("valid", "val", "validation")},
        ),
    }
)
