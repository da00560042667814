"""Errors of Hydra and OmegaConf, many lines long, told in one line that a person can act on."""

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import yaml
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
#: How the errors begin that Hydra raises without a class of their own.
_HYDRAS = ("Only one of --", "Invalid defaults list in ", "Unsupported type in defaults ")
#: What Hydra and OmegaConf say, and what a person can act on.
_REWORDED = (
    (
        r"(?s)^Ambiguous value for argument '((.*?)=(.*?))'.*",
        r"\1: several values are a sweep, which needs -m; a list is \2=[\3]",
    ),
    (
        r"(?s)^Multiple values for (.*?)\. To override a value use 'override .*?: (.*)'$",
        r"\1: a file chooses it for a second time; its defaults list needs  - override /\1: \2",
    ),
    (r"(?s)^In '(.*?)': .*Cannot merge DictConfig with ListConfig.*", r"\1.yaml: must hold lines of NAME: VALUE"),
)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors of Hydra and OmegaConf into a `ConfigurationError` of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigurationError(explain(error)) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(_is_not_yaml(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"a YAML file of the settings is not UTF-8 text: {error}") from error
    except RecursionError as error:
        told = "YAML files of the settings refer to each other in a circle, or hold too many levels"
        raise ConfigurationError(told) from error
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's own limit
            raise ConfigurationError("a number of the settings has too many digits") from error
        if not str(error).startswith(_HYDRAS):
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
        setting = str(error).removeprefix("Error merging override ")
        return f"{setting or 'a value of the settings'}: {str(cause).splitlines()[0]}"
    if isinstance(error, ValidationError | InterpolationKeyError) and error.full_key:
        return f"{error.full_key}: {str(error).splitlines()[0]}"
    said = str(error).partition("See https")[0]
    for known_words, words in _REWORDED:
        said = re.sub(known_words, words, said)
    return said.removeprefix(": ")


def _is_not_yaml(error: yaml.YAMLError) -> str:
    """Name the file, the line and what is wrong there."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if mark is not None and isinstance(error, yaml.MarkedYAMLError):
        half = str(error.problem).startswith("but ")  # the other half of a sentence
        told = f"{error.context} {error.problem}" if half else error.problem
        return f"{mark.name}: line {mark.line + 1} is not YAML: {told}"
    reason, _, place = str(error).partition("\n")
    name = re.search(r'in "(.*)"', place)
    return f"{name.group(1) if name else 'a file of the settings'}: is not YAML: {reason}"


def _no_such_option(file: str, options: Sequence[str]) -> str:
    """Say which options a group has; ``file`` is the one that Hydra looked for, such as ``data/nope``."""
    inner = next((group for group in _OF_PLUGINS if file.startswith(f"{group}/")), None)
    group = inner or file.partition("/")[0]  # what was asked for may hold slashes itself
    name = file.removeprefix(f"{group}/")
    hint = "; others come with plugins (docs/how-to/hydra.md)" if inner else ""
    if close := difflib.get_close_matches(name, options, n=1):
        hint += f"; did you mean {close[0]}?"
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
