"""Hydra's and OmegaConf's errors, many lines long, told in one line a person can act on."""

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from fedsq_flwr.config.schema import Config
from fedsq_flwr.errors import ConfigurationError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors of Hydra and OmegaConf into a `ConfigurationError` of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigurationError(re.sub(r"\s+", " ", explain(error)).strip()) from error


def explain(error: Exception) -> str:
    """Name the setting, the value and what is allowed."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name}: allowed are {', '.join(error.options)}"
    cause = error.__cause__
    unknown = (ConfigKeyError, ConfigAttributeError)
    if isinstance(cause, unknown) or isinstance(error, unknown):
        return _no_such_setting(str(error))
    if isinstance(cause, OmegaConfBaseException):
        return f"{str(error).removeprefix('Error merging override ')}: {str(cause).splitlines()[0]}"
    return str(error).partition("See https")[0]


def _no_such_setting(message: str) -> str:
    quoted = re.search(r"'([^']+)'", message)
    name = quoted.group(1) if quoted else message
    close = difflib.get_close_matches(name, _all_settings(), n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{name}: there is no such setting{hint}"


def _all_settings() -> list[str]:
    schema = OmegaConf.structured(Config)
    groups = [name for name in schema if OmegaConf.is_dict(OmegaConf.select(schema, str(name)))]
    nested = [f"{group}.{name}" for group in groups for name in OmegaConf.select(schema, str(group))]
    return [*map(str, schema), *nested]
