"""Hydra's and OmegaConf's errors, many lines long, told in one line a person can act on."""

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from fedsq_flwr.config.schema import Config
from fedsq_flwr.errors import ConfigurationError

_OF_PLUGINS = ("hydra/launcher", "hydra/sweeper")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors of Hydra and OmegaConf into a `ConfigurationError` of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigurationError(re.sub(r"\s+", " ", explain(error)).strip()) from error
    except ValueError as error:  # Hydra's own: for an override such as `=3`, and for options that exclude each other
        if "Config group override" in str(error):
            raise ConfigurationError("an override needs a setting's name before its =") from error
        if not str(error).startswith("Only one of --"):
            raise
        raise ConfigurationError(str(error)) from error


def explain(error: Exception) -> str:
    """Name the setting, the value and what is allowed."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        return _no_such_option(error.missing_cfg_file, error.options)
    cause = error.__cause__
    unknown = (ConfigKeyError, ConfigAttributeError)
    for known in (cause, error):
        if isinstance(known, unknown):
            return no_such_setting(str(known.full_key or error))
    if isinstance(cause, OmegaConfBaseException):
        return _refused_value(str(error).removeprefix("Error merging override "), str(cause).splitlines()[0])
    if isinstance(error, OverrideParseException) and "LexerNoViableAlt" in str(error):
        return _needs_quotes(error.override, str(error))
    if isinstance(error, ValidationError) and error.full_key:
        return f"{error.full_key}: {str(error).splitlines()[0]}"
    sweep = r"\1: several values are a sweep, which needs -m; a list is \2=[\3]"
    return re.sub(r"(?s)^Ambiguous value for argument '((.*?)=(.*?))'.*", sweep, str(error).partition("See https")[0])


def _refused_value(override: str, told: str) -> str:
    if "is not a ListConfig" not in told:
        return f"{override}: {told}"
    name, _, value = override.partition("=")
    return f"{override}: must be a list, {name}=[{value}]"


def _no_such_option(file: str, options: Sequence[str]) -> str:
    """Say which options a group has; ``file`` is the one that Hydra looked for, such as ``data/nope``."""
    inner = next((group for group in _OF_PLUGINS if file.startswith(f"{group}/")), None)
    group = inner or file.partition("/")[0]  # what was asked for may hold slashes itself
    name = file.removeprefix(f"{group}/")
    hint = "; others come with plugins (docs/sweeps.md)" if inner else ""
    if group == "data" and "/" in name:
        hint = f"; a folder of images is data=imagefolder data.path={name}"
    return f"{group}={name}: allowed are {', '.join(options)}{hint}"


def _needs_quotes(override: str, told: str) -> str:
    """Say what to write where Hydra's lexer stopped; its caret stands below the character."""
    first, _, caret = told.partition("\n")
    character = first[min(caret.partition("\n")[0].find("^"), len(first) - 1)]
    name, _, value = override.partition("=")
    quoted = value.replace("'", "\\'")
    return f"{override}: the {character} needs quotes, and these need the shell's: \"{name}='{quoted}'\""


def no_such_setting(name: str) -> str:
    """Say that a setting's name is unknown, and which ones are like it."""
    close = difflib.get_close_matches(name, _all_settings(), n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{name}: there is no such setting{hint}"


def _all_settings(schema: type = Config, prefix: str = "") -> list[str]:
    names = []
    for field in dataclasses.fields(schema):
        names.append(prefix + field.name)
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            names += _all_settings(field.type, f"{prefix}{field.name}.")
    return names
