"""The directory of a sweep's job: named by the overrides that can change its numbers and differ between jobs."""

import hashlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from omegaconf import ListConfig, OmegaConf

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.fields import Fact, facts_of
from fedsq_flwr.settings.overrides import key_of
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.yaml_files import read_yaml

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


def named_among(overrides: Iterable[str], keys: Collection[str], directory: Path) -> str:
    """Return the name of a job's directory in its sweep's: by the overrides of ``keys``, which the sweep varies.

    A directory that is the job's already keeps its name: one that an earlier version named by all overrides, or a
    sweep that varied less. Where the name is another job's, as of a sweep into the same directory with other fixed
    values, it is that of all overrides (`job_name`).
    """
    overrides = list(overrides)
    whole, short = job_name(overrides), job_name(each for each in overrides if key_of(each) in keys)
    there = sorted(path.name for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []
    own = (name for name in there if name == whole or _is_of(directory / name, overrides))
    return next(own, whole if short in there else short)


def _is_of(directory: Path, overrides: list[str]) -> bool:
    """Tell whether a directory, by its name and what Hydra wrote there, is the job's that ``overrides`` ask for."""
    parts = [each for each in overrides if f",{each}," in f",{directory.name},"]
    if job_name(parts) != directory.name:
        return False
    try:
        kept = read_yaml(directory / ".hydra" / "overrides.yaml", str(directory))
    except ConfigurationError:  # it is not known whose it is
        return False
    return isinstance(kept, list) and job_name(map(str, kept)) == job_name(overrides)


def names_job(key: str) -> bool:
    """Tell whether the setting or group ``key`` is part of the names of jobs."""
    return not key.startswith(("hydra.", "hydra/")) and Fact.NO_NUMBER not in facts_of(RunSettings, key)


def digest_of(lines: Iterable[str]) -> str:
    """Return eight hexadecimal digits that tell lines from others."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def _of_node(overrides: ListConfig, keys: ListConfig | None = None, directory: str = "") -> str:
    # Unresolved: an override may hold an interpolation, which is no part of a name.
    found = OmegaConf.to_container(overrides, resolve=False)
    lines = [str(line) for line in found] if isinstance(found, list) else []
    return job_name(lines) if keys is None else named_among(lines, list(map(str, keys)), Path(directory))
