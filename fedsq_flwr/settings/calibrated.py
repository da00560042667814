"""The file that ``fedsq calibrate`` writes and ``calibration=FILE`` names: for each method the values to use."""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.overrides import Value

#: Version of the layout of the file.
SCHEMA = 1


def read_calibration(path: str | Path) -> Mapping[str, Mapping[str, Value]]:
    """Return the calibrated settings of each method, by their names on the command line.

    Raises
    ------
    ConfigurationError
        If there is no such file, or it is not one of calibrated values.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigurationError(f"calibration={path}: there is no such file")
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(file))
    except (YAMLError, UnicodeDecodeError, OSError, OmegaConfBaseException) as error:
        raise ConfigurationError(f"calibration={path}: cannot be read: {' '.join(str(error).split())}") from error
    methods = loaded.get("methods") if isinstance(loaded, dict) else None
    if not isinstance(loaded, dict) or loaded.get("schema") != SCHEMA or not isinstance(methods, dict):
        raise ConfigurationError(f"calibration={path}: is not a file of fedsq calibrate")
    for method, values in methods.items():
        if not isinstance(values, dict) or not all(isinstance(value, Value) for value in values.values()):
            raise ConfigurationError(f"calibration={path}: {method} needs settings, each with one value")
    return {str(method): {str(name): value for name, value in values.items()} for method, values in methods.items()}


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
