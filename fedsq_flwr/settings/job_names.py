"""The directory of a sweep's job: named by the overrides that can change its numbers."""

import hashlib
import re
from collections.abc import Iterable

from omegaconf import ListConfig, OmegaConf

from fedsq_flwr.settings.fields import Fact, facts_of
from fedsq_flwr.settings.overrides import key_of
from fedsq_flwr.settings.run import RunSettings

_LONGEST = 200  # bytes; file systems allow 255, and Hydra and torch write files beside
_NO_OVERRIDES = "defaults"


def register_job_names() -> None:
    """Make `job_name` known to OmegaConf, under the name that ``conf/config.yaml`` uses."""
    OmegaConf.register_new_resolver("job_name", _of_node, replace=True)


def job_name(overrides: Iterable[str]) -> str:
    """Return the name of the directory of the job that ``overrides`` ask for.

    It is Hydra's ``override_dirname`` without settings that change no number, so that a sweep started again
    with another executor finds what is there. What no name of a directory can hold, or is too long for one,
    is replaced by a digest at the end.
    """
    name = ",".join(sorted(override for override in overrides if names_job(key_of(override)))) or _NO_OVERRIDES
    fitting = re.sub(r"[/\\\x00-\x1f]+", "_", name)
    if fitting == name and len(name.encode()) <= _LONGEST:
        return name
    digest = digest_of([name])
    return f"{fitting.encode()[: _LONGEST - len(digest) - 1].decode(errors='ignore')}-{digest}"


def names_job(key: str) -> bool:
    """Tell whether the setting or group ``key`` is part of the names of jobs."""
    return not key.startswith(("hydra.", "hydra/")) and Fact.NO_NUMBER not in facts_of(RunSettings, key)


def digest_of(lines: Iterable[str]) -> str:
    """Return eight hexadecimal digits that tell lines from others."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def _of_node(overrides: ListConfig) -> str:
    # Unresolved: an override may hold an interpolation, which is no part of a name.
    lines = OmegaConf.to_container(overrides, resolve=False)
    return job_name(map(str, lines if isinstance(lines, list) else []))
