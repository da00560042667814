"""The data set that a run names, before it is shared out."""

import logging
from dataclasses import replace
from pathlib import Path

from fedsq_flwr.assembly.fitting import image_fitter, load_folder
from fedsq_flwr.config.schema import Config
from fedsq_flwr.data import PUBLISHED, DataSource, folder_source, load_published, load_source, select
from fedsq_flwr.data.images import prepare_parts
from fedsq_flwr.data.pipelines import KEEP_PREPARED_BYTES
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.learning import derive_seed

log = logging.getLogger(__name__)


def load_task_source(config: Config, seed: int) -> DataSource:
    """Load the data set of ``config``, fitted to the backbone; ``seed`` draws the test set of a folder without one.

    Raises
    ------
    DataError
        If the data cannot be read.
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    data = config.data
    if data.name == "imagefolder":
        if data.path is None:  # only real silos have their folders from elsewhere
            raise ConfigurationError("data.path=null: must name this silo's folder of images")
        folder = load_folder(config, Path(data.path).expanduser())
        groups = folder.path / config.partition.groups if config.partition.name == "natural" else None
        seed = derive_seed(seed, "test set")
        source = folder_source(folder, test_fraction=data.test_fraction, seed=seed, groups=groups)
        return select(source, classes=None, limit=data.limit, test_limit=data.test_limit)
    source = load_raw_source(config)
    own = [] if source.validation is None else [source.validation]
    parts = [source.pool, source.test, *own]
    pool, test, *validation = prepare_parts(parts, image_fitter(config), keep_bytes=KEEP_PREPARED_BYTES)
    return replace(source, pool=pool, test=test, validation=next(iter(validation), None))


def load_raw_source(config: Config) -> DataSource:
    """Load the classes and samples that the settings ask for, of a data set that is no folder of the user's own.

    Raises
    ------
    DataError
        If they cannot be read.
    """
    data = config.data
    if data.name in PUBLISHED:
        path = None if data.path is None else Path(data.path).expanduser()
        log.info("reading %s from %s", data.name, path or "the Hugging Face hub")
        cache = Path(config.cache_dir).expanduser() / "images"
        source = load_published(data.name, path=path, revision=str(data.revision), cache=cache)
    else:
        source = load_source(data.name)
    return select(source, classes=data.classes, limit=data.limit, test_limit=data.test_limit)
