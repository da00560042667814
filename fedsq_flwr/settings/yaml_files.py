"""YAML files that a person may have written or changed, read within bounds."""

from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedsq_flwr.errors import ConfigurationError, DataError
from fedsq_flwr.files import read_bytes

_LARGEST = 2**21  # bytes; settings take a thousand, and the results of a thousand tries some 200,000
_DEEPEST = 20  # lists and mappings within each other


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
        One line, if the file cannot be read, is too large, too deep or no YAML, or has an alias (``*name``): a few
        aliases can stand for more values than memory holds.
    """
    try:
        text = read_bytes(path, where, _LARGEST).decode()
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ConfigurationError(f"{where}: has an alias of YAML, a name after a *; write the value itself")
            if depth > _DEEPEST:
                raise ConfigurationError(f"{where}: has more than {_DEEPEST} lists and mappings within each other")
        return OmegaConf.to_container(OmegaConf.load(StringIO(text)))
    except DataError as error:
        raise ConfigurationError(str(error)) from error
    except (yaml.YAMLError, ValueError, OSError, RecursionError, OmegaConfBaseException) as error:
        digits = "integer string conversion" in str(error)
        reason = "a number has too many digits" if digits else error
        raise ConfigurationError(f"{where}: cannot be read as YAML: {reason}") from error
