"""The help of ``fedsq run`` and the reference of settings, written from the classes."""

import textwrap
from collections.abc import Iterator

from fedsq_flwr.settings.composition import conf_directory
from fedsq_flwr.settings.fields import MISSING, Entry, catalogue
from fedsq_flwr.settings.mistakes import allowed_values, written
from fedsq_flwr.settings.run import RunSettings

GROUPS = ("data", "backbone", "partition", "method", "executor", "experiment")
_WIDTH = 80
_COLUMN = 32

_USAGE = """\
usage: fedsq run [OVERRIDE ...]            one run; each OVERRIDE is NAME=VALUE
       fedsq run -m [OVERRIDE ...]         a sweep: NAME=VALUE,VALUE,...
       fedsq run --cfg job [OVERRIDE ...]  show the settings, and run nothing

Overrides are Hydra's (https://hydra.cc). --config-dir DIR adds YAML files of
your own, --config-name NAME makes one of them the primary file, and
--hydra-help lists Hydra's other options.
"""


def help_text() -> str:
    """Return what ``fedsq run --help`` prints, in 80 columns."""
    lines = [_USAGE, "Choices, GROUP=NAME:"]
    for group in GROUPS:
        names = ", ".join(files_of(group))
        lines += textwrap.wrap(f"{group:<12}{names}", _WIDTH, initial_indent="  ", subsequent_indent=" " * 14)
    lines += ["", "Settings, NAME=VALUE, with their defaults:"]
    for group, entries in _grouped():
        lines += [] if not group else ["", f"{group}:"]
        for entry in entries:
            lines += _entry(entry)
    return "\n".join(lines)


def markdown() -> str:
    """Return the reference of settings as Markdown: a table for each group."""
    parts = []
    for group, entries in _grouped():
        rows = [
            f"| `{e.name}` | {_default(e)} | {allowed_values(e)} | {_markdown(e.description)}{_only(e)} |"
            for e in entries
        ]
        heading = f"## `{group}`" if group else "## Every run"
        parts.append("\n".join([heading, "", "| setting | default | values | meaning |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def files_of(group: str) -> list[str]:
    """Return the names that a group of files has in ``conf``."""
    folder = conf_directory() / group
    found = (file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))
    return sorted(name for name in found if not name.startswith("global/"))


def _grouped() -> Iterator[tuple[str, list[Entry]]]:
    groups: dict[str, list[Entry]] = {}
    for name, entry in catalogue(RunSettings).items():
        if entry.is_tag:  # the choices are listed by themselves
            continue
        groups.setdefault(name.partition(".")[0] if "." in name else "", []).append(entry)
    yield from groups.items()


def _entry(entry: Entry) -> list[str]:
    head = f"  {entry.name}={_default(entry)}"
    told = f"{entry.description}{_only(entry)}".replace("``", "")
    wrapped = textwrap.wrap(told, _WIDTH - _COLUMN) or [""]
    rest = [" " * _COLUMN + line for line in wrapped]
    if len(head) < _COLUMN - 1:
        return [f"{head:<{_COLUMN}}{wrapped[0]}", *rest[1:]]
    return [head, *rest]


def _markdown(description: str) -> str:
    return description.replace("``", "`").replace("|", "\\|")


def _default(entry: Entry) -> str:
    return "" if entry.default == MISSING else written(entry.default)


def _only(entry: Entry) -> str:
    """Say which variants have a setting, where not all have."""
    top, variants = entry.name.partition(".")[0], set(filter(None, entry.fields))
    tags = [set(catalogue(RunSettings)[tag].fields) for tag in _tags(top)]
    return f" ({', '.join(filter(None, entry.fields))})" if variants and variants not in tags else ""


def _tags(group: str) -> list[str]:
    """Return the settings that choose the variants of a group."""
    return [name for name, entry in catalogue(RunSettings).items() if name.startswith(f"{group}.") and entry.is_tag]
