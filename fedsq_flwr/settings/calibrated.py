"""The file that ``fedsq calibrate`` writes and ``calibration=FILE`` names: for each method the values to use."""

from collections.abc import Mapping
from pathlib import Path

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.overrides import Value
from fedsq_flwr.settings.paths import expanded
from fedsq_flwr.settings.yaml_files import read_yaml

#: Version of the layout of the file.
SCHEMA = 1


def read_calibration(path: str | Path) -> Mapping[str, Mapping[str, Value]]:
    """Return the calibrated settings of each method, by their names on the command line.

    Raises
    ------
    ConfigurationError
        If there is no such file, or it is not one of calibrated values.
    """
    loaded = read_yaml(expanded("calibration", str(path)), f"calibration={path}")
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
