"""The file that ``fedsq calibrate`` writes and ``calibration=FILE`` names: for each method the values to use."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from fedsq_flwr.errors import ConfigurationError, DataError
from fedsq_flwr.files import read_bytes
from fedsq_flwr.settings.overrides import Value

#: Version of the layout of the file.
SCHEMA = 1
#: The most bytes of the file that are read. One of a thousand tries has some 200,000.
LARGEST = 2**24
#: The most lists and objects within each other.
DEEPEST = 20


def read_calibration(path: str | Path) -> Mapping[str, Mapping[str, Value]]:
    """Return the calibrated settings of each method, by their names on the command line.

    Raises
    ------
    ConfigurationError
        If there is no such file, or it is not one of calibrated values.
    """
    try:
        text = read_bytes(Path(path).expanduser(), f"calibration={path}", LARGEST).decode()
        _refuse_bombs(text)
        loaded = OmegaConf.to_container(OmegaConf.load(StringIO(text)))
    except DataError as error:
        raise ConfigurationError(str(error)) from error
    except (YAMLError, ValueError, OSError, RecursionError, OmegaConfBaseException) as error:
        raise ConfigurationError(f"calibration={path}: cannot be read: {' '.join(str(error).split())}") from error
    methods = loaded.get("methods") if isinstance(loaded, dict) else None
    if not isinstance(loaded, dict) or loaded.get("schema") != SCHEMA or not isinstance(methods, dict):
        raise ConfigurationError(f"calibration={path}: is not a file of fedsq calibrate")
    for method, values in methods.items():
        if not isinstance(values, dict) or not all(isinstance(value, Value) for value in values.values()):
            raise ConfigurationError(f"calibration={path}: {method} needs settings, each with one value")
    return {str(method): {str(name): value for name, value in values.items()} for method, values in methods.items()}


def _refuse_bombs(text: str) -> None:
    """Refuse what YAML takes hours or gigabytes to read, and no calibration has.

    Raises
    ------
    YAMLError
        If there is an alias, or lists and objects are nested deeply.
    """
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if isinstance(event, AliasEvent) or depth > DEEPEST:
            raise YAMLError(f"it has aliases of YAML, or more than {DEEPEST} levels")


def calibrated_values(path: str | Path, method: str) -> Mapping[str, Value]:
    """Return the calibrated settings of ``method``.

    Raises
    ------
    ConfigurationError
        As `read_calibration`, or if the file has no values for the method.
    """
    methods = read_calibration(path)
    if method not in methods:
        raise ConfigurationError(f"calibration={path}: has no values for {method}, only for {', '.join(methods)}")
    return methods[method]
