"""The task of a run: its data set, fitted to the backbone and shared out among the silos."""

from pathlib import Path

from fedsq_flwr.assembly.fitting import load_folder
from fedsq_flwr.assembly.sources import load_raw_source, load_task_source
from fedsq_flwr.config.schema import Config
from fedsq_flwr.data import (
    DataSource,
    FederatedData,
    PartitionPlan,
    SavedPartition,
    ServerData,
    SiloData,
    read_partition,
    reuse_partition,
    share_out,
    silo_parts,
)
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.learning import derive_seed


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
    return _share_out(config, load_task_source(config, _seed(config, saved)), silos, saved)


def load_raw_task(config: Config, silos: int) -> FederatedData:
    """Share out the data of ``config`` as `load_task` does, the images as they are: not fitted.

    Raises
    ------
    DataError
        If the data cannot be read, or do not suffice for the silos.
    """
    return _share_out(config, load_raw_source(config), silos, _saved_partition(config))


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
