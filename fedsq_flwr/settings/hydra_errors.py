"""Errors of Hydra and OmegaConf, many lines long, told in one line that a person can act on."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    OmegaConfBaseException,
    ValidationError,
)

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.mistakes import unknown
from fedsq_flwr.settings.run import RunSettings

_OF_PLUGINS = ("hydra/launcher", "hydra/sweeper")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors of Hydra and OmegaConf into a `ConfigurationError` of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigurationError(explain(error)) from error
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's own limit
            raise ConfigurationError("a number of the settings has too many digits") from error
        if not str(error).startswith("Only one of --"):  # Hydra's own, for options that exclude each other
            raise
        raise ConfigurationError(str(error)) from error


def explain(error: Exception) -> str:
    """Name the setting, the value and what is allowed."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        return _no_such_option(error.missing_cfg_file, error.options)
    cause = error.__cause__
    for known in (cause, error):
        if isinstance(known, ConfigKeyError | ConfigAttributeError):
            return unknown(RunSettings, str(known.full_key or error))
    if isinstance(error, OverrideParseException):
        return _cannot_be_read(error.override)
    if isinstance(cause, OmegaConfBaseException):
        return f"{str(error).removeprefix('Error merging override ')}: {str(cause).splitlines()[0]}"
    if isinstance(error, ValidationError | InterpolationKeyError) and error.full_key:
        return f"{error.full_key}: {str(error).splitlines()[0]}"
    sweep = r"\1: several values are a sweep, which needs -m; a list is \2=[\3]"
    return re.sub(r"(?s)^Ambiguous value for argument '((.*?)=(.*?))'.*", sweep, str(error).partition("See https")[0])


def _no_such_option(file: str, options: Sequence[str]) -> str:
    """Say which options a group has; ``file`` is the one that Hydra looked for, such as ``data/nope``."""
    inner = next((group for group in _OF_PLUGINS if file.startswith(f"{group}/")), None)
    group = inner or file.partition("/")[0]  # what was asked for may hold slashes itself
    name = file.removeprefix(f"{group}/")
    hint = "; others come with plugins (docs/how-to/hydra.md)" if inner else ""
    if group == "data" and "/" in name:
        hint = f"; a folder of images is data=imagefolder data.path={name}"
    return f"{group}={name}: allowed are {', '.join(options)}{hint}"


def _cannot_be_read(override: str) -> str:
    """Say how a value is written that means something else in Hydra's grammar."""
    name, equals, value = override.partition("=")
    if not equals:
        return f"{override}: must be NAME=VALUE"
    quoted = value.replace("'", "\\'")
    return f"{override}: needs quotes, and these need the shell's: \"{name}='{quoted}'\""
