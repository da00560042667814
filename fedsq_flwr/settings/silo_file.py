"""``silo.yaml``, and values on the command line: the settings of a silo as its operator writes them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.fields import Fact, facts_of
from fedsq_flwr.settings.hydra_errors import one_line_errors
from fedsq_flwr.settings.mistakes import written
from fedsq_flwr.settings.paths import expanded
from fedsq_flwr.settings.silo import SiloSettings
from fedsq_flwr.settings.yaml_files import read_yaml


def read_silo_settings(words: Sequence[str], *, files: bool = True) -> SiloSettings:
    """Read a silo's settings: YAML files and ``name=value``, of which the later win.

    With ``files=False`` what they name need not be there.

    Raises
    ------
    ConfigurationError
        One line that names the file or setting, the value and what is allowed.
    """
    told: dict[str, Any] = {}
    with one_line_errors():
        for word in words:
            told = _merged(told, _of_word(word) if "=" in word else _of_file(Path(word)))
        given: Any = OmegaConf.to_container(OmegaConf.create(told), resolve=True)
    missing = [name for name, field in SiloSettings.model_fields.items() if field.is_required() and name not in given]
    if missing:
        raise ConfigurationError(f"{missing[0]}: must be given, in a file or as {missing[0]}=VALUE")
    if "privacy" in given and given["privacy"] is None:
        raise ConfigurationError("privacy: holds no settings; give them, or leave privacy out for none")
    settings = SiloSettings.parse(given)
    settings = settings.changed(state_dir=str(Path(settings.state_dir).expanduser()))
    if files:
        settings.check_files()
    return settings


def _merged(told: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Return settings of which the later win, within groups too."""
    groups = {
        name: {**told[name], **value}
        for name, value in later.items()
        if isinstance(value, dict) and isinstance(told.get(name), dict)
    }
    return {**told, **later, **groups}


def _of_file(path: Path) -> dict[str, Any]:
    loaded = read_yaml(path, str(path))
    if not isinstance(loaded, dict):
        raise ConfigurationError(f"{path} holds no settings")
    return _with_absolute_paths({str(name): value for name, value in loaded.items()}, path.absolute().parent)


def _of_word(word: str) -> dict[str, Any]:
    try:
        given: Any = OmegaConf.to_container(OmegaConf.from_dotlist([word]))
    except YAMLError as error:
        name, _, value = word.partition("=")
        quoted = f"{name}='\"{value}\"'"
        raise ConfigurationError(f"{word}: needs quotes, and these need the shell's: {quoted}") from error
    except ValueError as error:
        raise ConfigurationError(f"{written(word)}: a number has too many digits") from error
    return _with_absolute_paths(given, Path.cwd())


def _with_absolute_paths(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make paths absolute: a file's are relative to its folder, those of the command line to the current one."""
    paths = {
        name: value
        for name, value in settings.items()
        if Fact.PATH in facts_of(SiloSettings, name) and isinstance(value, str)
    }
    return settings | {name: os.path.normpath(folder / expanded(name, value)) for name, value in paths.items()}
