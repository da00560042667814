"""The data of a run: loaded, fitted to the backbone and distributed among the silos."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.data import (
    DataSource,
    FederatedData,
    ImageFolder,
    LabelledImages,
    SavedPartition,
    ServerData,
    SiloData,
    distribute,
    folder_source,
    held_out_files,
    load_source,
    read_folder,
    read_partition,
    reuse_partition,
    select,
    silo_parts,
)
from fedsq_flwr.data.folder_layout import PARTS
from fedsq_flwr.data.images import prepare_parts
from fedsq_flwr.data.pipelines import KEEP_PREPARED_BYTES, InputPipeline
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.learning import derive_seed
from fedsq_flwr.settings.data import ImageFolderData, PublishedData
from fedsq_flwr.settings.partition import DrawnPartition, Natural
from fedsq_flwr.settings.partition import SavedPartition as SavedSettings
from fedsq_flwr.settings.run import RunSettings

log = logging.getLogger(__name__)


def load_task(settings: RunSettings, silos: int) -> FederatedData:
    """Load the data of a run and distribute them among ``silos`` silos.

    Every process of a simulation works this out alike; a silo of such a federation then looks at its
    own part only.

    Raises
    ------
    DataError
        If the data cannot be read, or do not suffice for the silos.
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    saved = _saved_partition(settings)
    return _distribute(settings, _load_source(settings, _seed(settings, saved)), silos, saved)


def load_raw_task(settings: RunSettings, silos: int) -> FederatedData:
    """Distribute the data of a run as `load_task` does, the images as they are: not fitted to the backbone.

    Raises
    ------
    DataError
        If the data cannot be read, or do not suffice for the silos.
    """
    return _distribute(settings, _load_raw_source(settings), silos, _saved_partition(settings))


def load_server_data(settings: RunSettings) -> ServerData:
    """Load what the server has of the data.

    With folders of images at real silos, that is ``validation`` and ``test`` in the server's own folder, if there is
    one. Any other data set can be worked out as a whole.

    Raises
    ------
    DataError, ConfigurationError, WeightsError
        As `load_task`; or the server has no folder, and the classes are not given.
    """
    data = settings.data
    if not settings.has_real_silos or not isinstance(data, ImageFolderData):
        return load_task(settings, settings.silos)
    none = LabelledImages.none()
    if data.path is None:
        if data.classes is None:
            raise ConfigurationError("data.classes=null: must be given where the server has no data.path")
        return ServerData(none, none, data.classes)
    folder = load_folder(settings, Path(data.path).expanduser(), ("validation", "test"))
    return ServerData(folder.parts.get("validation", none), folder.parts.get("test", none), folder.class_names)


def load_silo(settings: RunSettings, silo: int) -> SiloData:
    """Load the folder of images of a real silo, ``data.path`` as it holds there.

    Raises
    ------
    DataError, ConfigurationError, WeightsError
        As `load_folder`; or the run does not say which classes there are.
    """
    data = settings.data
    if not isinstance(data, ImageFolderData) or data.path is None:
        raise ConfigurationError(f"data.name={data.name}: must be imagefolder, since silos have folders of images")
    if data.classes is None:
        raise ConfigurationError("data.classes=null: must be given, since silos have to agree on the classes")
    folder = load_folder(settings, Path(data.path), ("train", "validation"))
    seed = derive_seed(settings.seed, "held out", silo)
    drawn = {"held_out_fraction": data.held_out_fraction, "min_held_out": data.min_held_out, "seed": seed}
    train, held_out = silo_parts(folder, **drawn)  # type: ignore[arg-type]
    unreadable = sum(map(len, folder.skipped.values()))
    return SiloData(train, held_out, folder.class_names, unreadable, held_out_files(folder, **drawn))  # type: ignore


def load_folder(settings: RunSettings, folder: Path, parts: Sequence[str] = PARTS) -> ImageFolder:
    """Read ``parts`` of a folder of images, fitted to the backbone.

    The log says how many files were left out, which classes have no image, and how many images lose their colours.

    Raises
    ------
    DataError
        As `read_folder`.
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    log.info("reading the images of %s", folder)
    pipeline, grey = image_fitter(settings), settings.backbone.in_channels == 1
    coloured = 0

    def fit(images: Tensor) -> Tensor:
        nonlocal coloured
        # Grey pictures are often stored as three equal channels; they lose nothing.
        coloured += int(grey and not torch.equal(images, images[:, :1].expand_as(images)))
        return pipeline(images)

    unreadable = settings.data.unreadable if isinstance(settings.data, ImageFolderData) else "fail"
    read = read_folder(folder, classes=settings.data.classes, unreadable=unreadable, fit=fit, parts=parts)
    for part, skipped in read.skipped.items():
        if skipped:
            files = len(read.parts[part]) + len(skipped)
            log.warning("%s: left out of %s, as unreadable: %d of %d files", folder, part, len(skipped), files)
    for part, gaps in read.gaps.items():
        for gap in gaps:
            log.warning("%s: of %s, %s", folder, part, gap)
    if coloured:
        images = sum(map(len, read.parts.values()))
        log.warning(
            "%s: %d of %d images are in colour, and become grey: backbone.in_channels=1", folder, coloured, images
        )
    return read


def image_fitter(settings: RunSettings) -> InputPipeline:
    """Return the input pipeline of training, evaluation and prediction: it fits images, between 0 and 1.

    Raises
    ------
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    backbone = settings.backbone
    mean, std = normalisation(backbone)  # may look into a file, so once for all images
    return InputPipeline(backbone.image_size, backbone.in_channels, mean, std)


def _load_source(settings: RunSettings, seed: int) -> DataSource:
    """Load the data set, fitted to the backbone; ``seed`` draws the test set of a folder without one."""
    data, partition = settings.data, settings.partition
    if isinstance(data, ImageFolderData):
        if data.path is None:  # only real silos have their folders from elsewhere
            raise ConfigurationError("data.path=null: must name this silo's folder of images")
        folder = load_folder(settings, Path(data.path).expanduser())
        groups = folder.path / partition.groups if isinstance(partition, Natural) else None
        seed = derive_seed(seed, "test set")
        source = folder_source(folder, test_fraction=data.test_fraction, seed=seed, groups=groups)
        return select(source, classes=None, limit=data.limit, test_limit=data.test_limit)
    source = _load_raw_source(settings)
    own = [] if source.validation is None else [source.validation]
    parts = [source.pool, source.test, *own]
    pool, test, *validation = prepare_parts(parts, image_fitter(settings), keep_bytes=KEEP_PREPARED_BYTES)
    return replace(source, pool=pool, test=test, validation=next(iter(validation), None))


def _load_raw_source(settings: RunSettings) -> DataSource:
    """Load the classes and samples that the settings ask for, of a data set that is no folder of the user's own."""
    data = settings.data
    if isinstance(data, PublishedData):
        log.info("reading %s from %s", data.name, data.path or "the Hugging Face hub")
    source = load_source(data, Path(settings.cache_dir).expanduser() / "images")
    return select(source, classes=data.classes, limit=data.limit, test_limit=data.test_limit)


def _saved_partition(settings: RunSettings) -> SavedPartition | None:
    partition = settings.partition
    return read_partition(Path(partition.file).expanduser()) if isinstance(partition, SavedSettings) else None


def _seed(settings: RunSettings, saved: SavedPartition | None) -> int:
    """Return the seed of all splits of the data: a partition belongs to one test and one validation set."""
    if saved is not None:
        return saved.seed
    own = settings.partition.seed if isinstance(settings.partition, DrawnPartition) else None
    return settings.seed if own is None else own


def _distribute(settings: RunSettings, source: DataSource, silos: int, saved: SavedPartition | None) -> FederatedData:
    partition = settings.partition
    if saved is not None:
        return reuse_partition(source, saved, silos=silos, min_size=partition.min_size)
    return distribute(
        source,
        partition,
        silos,
        validation_fraction=settings.validation_fraction,
        held_out_fraction=settings.data.held_out_fraction,
        min_held_out=settings.data.min_held_out,
        seed=_seed(settings, saved),
    )
