"""The files and folders that settings name: whether they are there, and where they are."""

from pathlib import Path
from typing import Any

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.backbone import SUFFIXES, WEIGHTS_ALLOWED, is_anywhere, is_path, is_run
from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.data import ImageFolderData, PublishedData
from fedsq_flwr.settings.fields import Fact, facts_of
from fedsq_flwr.settings.partition import SavedPartition
from fedsq_flwr.settings.run import RunSettings


def check_files(settings: RunSettings) -> None:
    """Check that weights, images and a saved partition are there, and that the output lies elsewhere.

    A run needs these files. Whoever uses the model of a finished run does not.

    Raises
    ------
    ConfigurationError
        One line that names the setting.
    """
    try:
        _check_files(settings)
    except PermissionError as error:
        raise ConfigurationError(f"{error.filename}: {error.strerror}") from error


def _check_files(settings: RunSettings) -> None:
    weights = settings.backbone.weights
    if is_path(weights):
        settings.require(Path(weights).expanduser().is_file(), "backbone.weights", "there is no such file")
    elif not is_anywhere(weights):
        another = Path(weights).expanduser().is_file()
        settings.require(not another, "backbone.weights", f"must end in one of {', '.join(SUFFIXES)}")
        settings.require(is_run(weights), "backbone.weights", f"there is no such directory; {WEIGHTS_ALLOWED}")
    if settings.has_real_silos:
        return
    data, partition = settings.data, settings.partition
    if isinstance(data, ImageFolderData | PublishedData) and data.path is not None:
        place = Path(data.path).expanduser()
        there = place.is_dir() or (isinstance(data, PublishedData) and place.is_file())  # a file: an archive
        settings.require(there, "data.path", "there is no such folder")
        if isinstance(data, ImageFolderData):
            check_output(settings.output, data.path)
    if isinstance(partition, SavedPartition):
        saved = Path(partition.file).expanduser()
        settings.require(saved.exists(), "partition.file", "there is no such file")
        is_runs = not saved.is_dir() or (saved / "partition.json").is_file()
        allowed = "has no partition.json; name one run's directory, or its file"
        settings.require(is_runs, "partition.file", allowed)


def check_output(output: str, images: str) -> None:
    """Check that an output does not lie in the user's own folder of images, where its folders would be classes.

    Raises
    ------
    ConfigurationError
        One line, if it does.
    """
    if Path(output).expanduser().resolve().is_relative_to(Path(images).expanduser().resolve()):
        raise ConfigurationError(f"output={output}: must not lie in the folder of images, data.path={images}")


def with_absolute_paths(settings: RunSettings) -> RunSettings:
    """Return settings whose paths are absolute: other processes of a run have other working directories."""
    changes: dict[str, Any] = {}
    for name, value in flat(settings.plain()).items():
        path = Fact.PATH in facts_of(RunSettings, name) or (name == "backbone.weights" and is_path(str(value)))
        if path and value is not None:
            _put(changes, name, str(Path(str(value)).expanduser().absolute()))
    return settings.changed(**changes)


def _put(nested: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        nested = nested.setdefault(group, {})
    nested[last] = value
