"""The settings of one silo, as its own operator writes them: ``silo.yaml``."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from fedsq_flwr.config.explanation import one_line_errors
from fedsq_flwr.errors import ConfigurationError

#: Settings that are paths; in a file they are relative to its folder, on the command line to the current one.
_PATHS = ("data_path", "private_key", "root_certificates", "weights", "state_dir")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/\[\]]+):(\d{1,5})")


@dataclass
class SiloConfig:
    """A silo: where its server is, how it is known there, and what it has of its own."""

    superlink: str = MISSING  # host:port
    silo: int = MISSING  # its number, 0 to silos - 1
    silos: int = MISSING  # how many take part
    data_path: str = MISSING  # folder of images, a folder a class, or train and validation with these
    private_key: str | None = None  # of the node, in OpenSSH's format; null: the server knows no keys
    root_certificates: str | None = None  # file of the authority that the server is verified by; null: the system's
    insecure: bool = False  # plain HTTP, for trials on one machine
    weights: str | None = None  # pretrained weights; null: as the run says
    state_dir: str = "~/.cache/fedsq_flwr"  # gates, structures that were sent, weights that were pretrained here
    gate_cache_bytes: int = 2**30  # room for gates in state_dir
    device: str = "auto"  # auto | cpu | cuda | cuda:N | mps


def read_silo_config(settings: Sequence[str]) -> SiloConfig:
    """Read a silo's settings: YAML files and ``name=value``, of which the later win.

    Raises
    ------
    ConfigurationError
        One line that names the file or setting, the value and what is allowed.
    """
    with one_line_errors():
        given = [_of_word(word) if "=" in word else _of_file(Path(word)) for word in settings]
        merged = OmegaConf.merge(OmegaConf.structured(SiloConfig), *given)
        missing = [field.name for field in fields(SiloConfig) if OmegaConf.is_missing(merged, field.name)]
        if missing:
            raise ConfigurationError(f"{missing[0]}: must be given, in a file or as {missing[0]}=VALUE")
        config = OmegaConf.to_object(merged)
    if not isinstance(config, SiloConfig):
        raise TypeError(f"expected a SiloConfig, got {type(config)}")
    config.state_dir = str(Path(config.state_dir).expanduser())
    validate_silo(config)
    return config


def validate_silo(config: SiloConfig) -> None:
    """Check the values of ``config`` that need no other file to be read.

    Raises
    ------
    ConfigurationError
        One line that names the first bad setting, its value and what is allowed.
    """
    address = _ADDRESS.fullmatch(config.superlink)
    _require(config, "superlink", address is not None and 0 < int(address[2]) < 65536, "must be HOST:PORT")
    _require(config, "silos", config.silos >= 1, "must be at least 1")
    _require(config, "silo", 0 <= config.silo < config.silos, f"must be 0 to {config.silos - 1}")
    _require(config, "gate_cache_bytes", config.gate_cache_bytes >= 0, "must be at least 0")
    _require(config, "data_path", Path(config.data_path).is_dir(), "there is no such folder")
    for name in ("private_key", "root_certificates", "weights"):
        path = getattr(config, name)
        _require(config, name, path is None or Path(path).is_file(), "there is no such file")
    for name in ("private_key", "root_certificates"):
        plain = config.insecure and getattr(config, name) is not None
        _require(config, name, not plain, "must be null with insecure=true, which is for trials on one machine")


def node_config(config: SiloConfig) -> dict[str, str | int]:
    """Return the settings that concern a run, as Flower's node config."""
    own: dict[str, str | int] = {
        "partition-id": config.silo,
        "num-partitions": config.silos,
        "data-path": config.data_path,
        "state-dir": config.state_dir,
        "device": config.device,
        "gate-cache-bytes": config.gate_cache_bytes,
    }
    return own if config.weights is None else {**own, "weights": config.weights}


def _of_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigurationError(f"{path}: there is no such file")
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, UnicodeDecodeError, OSError, OmegaConfBaseException) as error:
        raise ConfigurationError(f"{path} cannot be read as settings: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise ConfigurationError(f"{path} holds no settings")
    return _with_absolute_paths({str(name): value for name, value in loaded.items()}, path.absolute().parent)


def _of_word(word: str) -> dict[str, Any]:
    try:
        given: Any = OmegaConf.to_container(OmegaConf.from_dotlist([word]))
    except YAMLError as error:
        raise ConfigurationError(f"{word}: needs quotes, and these need the shell's: {_quoted(word)}") from error
    return _with_absolute_paths(given, Path.cwd())


def _quoted(word: str) -> str:
    name, _, value = word.partition("=")
    return f"{name}='\"{value}\"'"


def _with_absolute_paths(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    paths = {name: settings[name] for name in _PATHS if isinstance(settings.get(name), str)}
    return settings | {name: os.path.normpath(folder / Path(path).expanduser()) for name, path in paths.items()}


def _require(config: SiloConfig, name: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise ConfigurationError(f"{name}={getattr(config, name)}: {allowed}")
