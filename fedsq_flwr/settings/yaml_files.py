"""YAML files that a person may have written or changed, read within bounds."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedsq_flwr.errors import ConfigurationError, DataError
from fedsq_flwr.files import read_bytes

_LARGEST = 2**20  # bytes; settings take a thousand


def read_yaml(path: Path, where: str) -> Any:
    """Return what a YAML file holds, as mappings, lists and single values.

    Parameters
    ----------
    path : Path
        The file.
    where : str
        What an error calls it.

    Raises
    ------
    ConfigurationError
        One line, if the file cannot be read, is too large or is not YAML, or has an alias (``*name``): a few aliases
        can stand for more values than memory holds.
    """
    try:
        text = read_bytes(path, where, _LARGEST).decode()
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ConfigurationError(f"{where}: has an alias of YAML, a name after a *; write the value itself")
        return OmegaConf.to_container(OmegaConf.create(text))
    except DataError as error:
        raise ConfigurationError(str(error)) from error
    except (yaml.YAMLError, ValueError, RecursionError, OmegaConfBaseException) as error:
        digits = "integer string conversion" in str(error)
        reason = "a number has too many digits" if digits else error
        raise ConfigurationError(f"{where}: cannot be read as YAML: {reason}") from error
