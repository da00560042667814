"""The task of a run: its data set, fitted to the backbone and shared out among the silos."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.config.schema import Config
from fedsq_flwr.data import (
    PUBLISHED,
    DataSource,
    FederatedData,
    ImageFolder,
    PartitionPlan,
    SavedPartition,
    ServerData,
    SiloData,
    folder_source,
    load_published,
    load_source,
    read_folder,
    read_partition,
    reuse_partition,
    select,
    share_out,
    silo_parts,
)
from fedsq_flwr.data.folder_layout import PARTS
from fedsq_flwr.data.images import LabelledImages, prepare_parts
from fedsq_flwr.data.pipelines import KEEP_PREPARED_BYTES, InputPipeline
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.learning import derive_seed

log = logging.getLogger(__name__)


def load_task(config: Config, silos: int) -> FederatedData:
    """Load and share out the data of ``config`` among ``silos`` silos.

    Every process of a simulation works this out alike; a silo of such a federation then looks at its
    own part only.

    Raises
    ------
    DataError
        If the data cannot be read, or do not suffice for the silos.
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    saved = _saved_partition(config)
    return _share_out(config, _load_source(config, _seed(config, saved)), silos, saved)


def load_raw_task(config: Config, silos: int) -> FederatedData:
    """Share out the data of ``config`` as `load_task` does, the images as they are: not fitted.

    Raises
    ------
    DataError
        If the data cannot be read, or do not suffice for the silos.
    """
    return _share_out(config, _load_raw_source(config), silos, _saved_partition(config))


def load_server_data(config: Config) -> ServerData:
    """Load what the server has of the task.

    With folders of images at real silos, that is ``validation`` and ``test`` in its own folder, if it has
    one; any other data set can be worked out as a whole.

    Raises
    ------
    DataError, ConfigurationError, WeightsError
        As `load_task`; or the server has no folder, and the classes are not given.
    """
    if config.executor.name != "silos" or config.data.name != "imagefolder":
        return load_task(config, config.silos)
    if config.data.path is None:
        if config.data.classes is None:
            raise ConfigurationError("data.classes=null: must be given where the server has no data.path")
        return ServerData(LabelledImages.none(), LabelledImages.none(), tuple(config.data.classes))
    folder = load_folder(config, Path(config.data.path).expanduser(), ("validation", "test"))
    none = LabelledImages.none()
    return ServerData(folder.parts.get("validation", none), folder.parts.get("test", none), folder.class_names)


def load_silo(config: Config, silo: int) -> SiloData:
    """Load the folder of images of a real silo, ``data.path`` as it holds there.

    Raises
    ------
    DataError, ConfigurationError, WeightsError
        As `load_folder`; or the run does not say which classes there are.
    """
    data = config.data
    if data.name != "imagefolder" or data.path is None:
        raise ConfigurationError(f"data.name={data.name}: must be imagefolder, since silos have folders of images")
    if data.classes is None:
        raise ConfigurationError("data.classes=null: must be given, since silos have to agree on the classes")
    folder = load_folder(config, Path(data.path), ("train", "validation"))
    train, held_out = silo_parts(
        folder,
        held_out_fraction=data.held_out_fraction,
        min_held_out=data.min_held_out,
        seed=derive_seed(config.seed, "held out", silo),
    )
    return SiloData(train, held_out, folder.class_names, sum(map(len, folder.skipped.values())))


def _saved_partition(config: Config) -> SavedPartition | None:
    return None if config.partition.file is None else read_partition(Path(config.partition.file).expanduser())


def _seed(config: Config, saved: SavedPartition | None) -> int:
    """Return what the splits of the data are drawn by: a partition is of one test set and one validation set."""
    if saved is not None:
        return saved.seed
    return config.seed if config.partition.seed is None else config.partition.seed


def _share_out(config: Config, source: DataSource, silos: int, saved: SavedPartition | None) -> FederatedData:
    partition = config.partition
    if saved is not None:
        return reuse_partition(source, saved, silos=silos, min_size=partition.min_size)
    plan = PartitionPlan(
        name=partition.name,
        silos=silos,
        min_size=partition.min_size,
        alpha=partition.alpha,
        classes_per_silo=partition.classes_per_silo,
        shards_per_silo=partition.shards_per_silo,
        merge_groups=partition.merge_groups,
    )
    return share_out(
        source,
        plan,
        validation_fraction=config.validation_fraction,
        held_out_fraction=config.data.held_out_fraction,
        min_held_out=config.data.min_held_out,
        seed=_seed(config, saved),
    )


def load_folder(config: Config, folder: Path, parts: Sequence[str] = PARTS) -> ImageFolder:
    """Read ``parts`` of a folder of images, fitted to the backbone.

    How many files were left out is told, and how many images lose their colours.

    Raises
    ------
    DataError
        As `read_folder`.
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    log.info("reading the images of %s", folder)
    data, pipeline = config.data, image_fitter(config)
    coloured = 0

    def fit(images: Tensor) -> Tensor:
        nonlocal coloured
        # Grey pictures are often stored as three equal channels; they lose nothing.
        coloured += int(config.backbone.in_channels == 1 and not torch.equal(images, images[:, :1].expand_as(images)))
        return pipeline(images)

    read = read_folder(folder, classes=data.classes, unreadable=data.unreadable, fit=fit, parts=parts)
    for part, skipped in read.skipped.items():
        if skipped:
            files = len(read.parts[part]) + len(skipped)
            log.warning("%s: left out of %s, as unreadable: %d of %d files", folder, part, len(skipped), files)
    if coloured:
        images = sum(map(len, read.parts.values()))
        log.warning(
            "%s: %d of %d images are in colour, and become grey: backbone.in_channels=1", folder, coloured, images
        )
    return read


def image_fitter(config: Config) -> InputPipeline:
    """Return the input pipeline of training, evaluation and prediction: it fits images, between 0 and 1.

    Raises
    ------
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    backbone = config.backbone
    mean, deviation = normalisation(backbone)  # may look into a file, so once for all images
    return InputPipeline(backbone.image_size, backbone.in_channels, mean, deviation)


def fit_images(config: Config, images: LabelledImages) -> LabelledImages:
    """Fit images to the backbone, all at once; see `image_fitter`."""
    return LabelledImages(image_fitter(config)(images.images[:]), images.labels)


def _load_source(config: Config, seed: int) -> DataSource:
    data = config.data
    if data.name == "imagefolder":
        folder = load_folder(config, Path(str(data.path)).expanduser())
        groups = folder.path / config.partition.groups if config.partition.name == "natural" else None
        seed = derive_seed(seed, "test set")
        source = folder_source(folder, test_fraction=data.test_fraction, seed=seed, groups=groups)
        return select(source, classes=None, limit=data.limit, test_limit=data.test_limit)
    source = _load_raw_source(config)
    own = [] if source.validation is None else [source.validation]
    parts = [source.pool, source.test, *own]
    pool, test, *validation = prepare_parts(parts, image_fitter(config), keep_bytes=KEEP_PREPARED_BYTES)
    return replace(source, pool=pool, test=test, validation=next(iter(validation), None))


def _load_raw_source(config: Config) -> DataSource:
    """Load the classes and samples that the settings ask for, of a data set that is no folder of the user's own."""
    data = config.data
    if data.name in PUBLISHED:
        path = None if data.path is None else Path(data.path).expanduser()
        log.info("reading %s from %s", data.name, path or "the Hugging Face hub")
        cache = Path(config.cache_dir).expanduser() / "images"
        source = load_published(data.name, path=path, revision=str(data.revision), cache=cache)
    else:
        source = load_source(data.name)
    return select(source, classes=data.classes, limit=data.limit, test_limit=data.test_limit)
