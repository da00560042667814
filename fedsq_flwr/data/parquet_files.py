"""Published images in parquet files, as the Hugging Face hub has them: encoded images, and their labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from fedsq_flwr.data.decoded import Decoded
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.names import check_names
from fedsq_flwr.data.published_facts import Published
from fedsq_flwr.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

Part = tuple[LabelledImages, tuple[str, ...]]


def read_parquet(files: Mapping[str, Sequence[Path]], facts: Published) -> Decoded:
    """Read each part from its parquet files, in the order given.

    Raises
    ------
    DataError
        If a file is damaged or holds other columns, or an image cannot be decoded.
    """
    from datasets import Dataset, concatenate_datasets
    from pyarrow import ArrowException, parquet

    parts = {}
    for part, paths in files.items():
        tables = []
        for path in paths:
            try:
                tables.append(Dataset(parquet.read_table(path)))
            except (ArrowException, OSError, ValueError, TypeError) as error:
                raise DataError(f"{path}: cannot be read as a parquet file: {error}") from error
        try:
            whole = concatenate_datasets(tables)
        except ValueError as error:
            raise DataError(f"{paths[0]} and {paths[-1]}: hold other columns: {error}") from error
        parts[part] = decode_dataset(whole, facts, str(paths[0]))
    return one_set_of_classes(parts, " and ".join(str(paths[0]) for paths in files.values()))


def decode_dataset(dataset: "Dataset", facts: Published, where: str) -> Part:
    """Return the images ``(N, 3, H, W)`` uint8 with their labels, and the names of the classes, which it states.

    Parameters
    ----------
    dataset : Dataset
        Of the library ``datasets``, with the columns that ``facts`` names.
    facts : Published
        What it should be.
    where : str
        Where it is from, for errors.

    Raises
    ------
    DataError
        If a column or the names of the classes are missing, or an image cannot be decoded or has another size.
    """
    from datasets import ClassLabel, Image

    from fedsq_flwr.data.image_files import decode_rgb

    for column in (facts.image, facts.label):
        if column not in dataset.column_names:
            raise DataError(f"{where}: has no column {column}, but {', '.join(dataset.column_names)}")
    feature = dataset.features[facts.label]
    if not isinstance(feature, ClassLabel) or not isinstance(dataset.features[facts.image], Image):
        raise DataError(
            f"{where}: does not state that {facts.image} holds images and {facts.label} classes with names, as "
            "files written by the library datasets do"
        )
    pixels = np.empty((len(dataset), facts.size, facts.size, 3), dtype=np.uint8)
    place = 0
    for batch in dataset.select_columns([facts.image]).with_format("arrow").iter(1000):
        for encoded in batch[facts.image].combine_chunks().field("bytes").to_pylist():
            pixels[place] = decode_rgb(encoded, facts.size, f"{where}, image {place}")
            place += 1
    labels = torch.tensor(dataset.with_format("numpy")[facts.label][:], dtype=torch.int64)
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(feature.names)):
        raise DataError(f"{where}: {facts.label} must be 0 to {len(feature.names) - 1} for every image")
    return LabelledImages(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels), tuple(feature.names)


def one_set_of_classes(parts: Mapping[str, Part], where: str) -> Decoded:
    """Put the parts together.

    Raises
    ------
    DataError
        If they do not state the same classes in the same order, or a name that `check_names` refuses.
    """
    names = {class_names for _, class_names in parts.values()}
    for class_names in names:
        check_names(class_names, where)
    if len(names) != 1:
        raise DataError(f"{where}: {' and '.join(parts)} state other classes, or in another order")
    return Decoded({part: images for part, (images, _) in parts.items()}, names.pop())
