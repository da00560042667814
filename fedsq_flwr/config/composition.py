"""From Hydra overrides to a checked `Config`, with errors of one line.

The command line, the two Flower apps and the tests all come through here, so that a setting means the
same in each of them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from fedsq_flwr.config.explanation import one_line_errors
from fedsq_flwr.config.job_names import register_job_names
from fedsq_flwr.config.schema import Config
from fedsq_flwr.config.validation import check_folder, validate
from fedsq_flwr.errors import ConfigurationError

CONFIG_MODULE = "fedsq_flwr.conf"
CONFIG_NAME = "config"
_CLOSING = MappingProxyType({"'": "'", '"': '"', "[": "]", "{": "}", "(": ")"})


def register_schema() -> None:
    """Make known what ``conf/config.yaml`` builds on: the schema to Hydra, the names of jobs to OmegaConf."""
    ConfigStore.instance().store(name="schema", node=Config)
    register_job_names()


def compose_config(overrides: Sequence[str] = (), change: Callable[[Config], Config] | None = None) -> Config:
    """Compose and check the settings that ``overrides`` ask for, and whether the folder of images is there.

    Parameters
    ----------
    overrides : sequence of str
        Hydra's.
    change : callable, optional
        Changes the settings before their values are checked.

    Raises
    ------
    ConfigurationError
        One line that names the setting, the value and what is allowed.
    """
    register_schema()
    with one_line_errors(), _own_hydra(), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        composed = compose(CONFIG_NAME, overrides=list(overrides))
    config = to_config(composed, change)
    check_folder(config)
    return config


def to_config(composed: DictConfig, change: Callable[[Config], Config] | None = None) -> Config:
    """Turn what Hydra composed into a `Config`, and check its values once ``change`` is made.

    Raises
    ------
    ConfigurationError
        One line that names the setting, the value and what is allowed.
    """
    with one_line_errors():
        # Merged into the schema once more, because `+setting=value` adds to what Hydra composed.
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    if not isinstance(config, Config):
        raise TypeError(f"expected a Config, got {type(config)}")
    config = config if change is None else change(config)
    validate(config)
    return config


def split_overrides(text: str) -> list[str]:
    """Split a string of overrides: one a line, or, on a single line, at blanks that nothing encloses.

    Quotes and brackets enclose, and stay for Hydra. The executors write one a line, since an override
    may hold any blank as it is.

    Raises
    ------
    ConfigurationError
        If a quote or bracket is not closed.
    """
    if "\n" in text:
        return [line.strip() for line in text.split("\n") if line.strip()]
    words, start, open_until = [], 0, ""  # what would close what is open, the innermost last
    escaped = False
    for place, character in enumerate(f"{text} "):
        quoted = open_until[-1:] in ("'", '"')
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == open_until[-1:]:
            open_until = open_until[:-1]
        elif not quoted and character in _CLOSING:
            open_until += _CLOSING[character]
        elif not open_until and character.isspace():
            words.append(text[start:place])
            start = place + 1
    if open_until:
        raise ConfigurationError(f"overrides={text}: {open_until[-1]} is missing")
    return [word for word in words if word]


def quoted(value: str) -> str:
    """Quote ``value`` for Hydra, whatever it holds.

    Backslashes are doubled only where they would escape something: before ``${`` (OmegaConf), and before
    a quote or at the end (Hydra).
    """
    plain = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), plain) + "'"


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Set Hydra's singleton aside: under ``fedsq run`` the in-process apps compose within a Hydra job."""
    singleton = GlobalHydra.instance()
    before, singleton.hydra = singleton.hydra, None
    try:
        yield
    finally:
        singleton.hydra = before
