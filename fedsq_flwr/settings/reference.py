"""The help of ``fedsq run`` and ``fedsq silo``, and the reference of settings, written from the classes."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from fedsq_flwr.settings.composition import conf_directory
from fedsq_flwr.settings.fields import MISSING, Entry, catalogue
from fedsq_flwr.settings.mistakes import allowed_values, written
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import SiloSettings

GROUPS = ("data", "backbone", "partition", "method", "executor", "experiment")
_WIDTH = 80
_COLUMN = 32

_USAGE = """\
usage: fedsq run [options] [OVERRIDE ...]

Each OVERRIDE is NAME=VALUE, in Hydra's grammar (https://hydra.cc).

options:
  -m                  a sweep over all combinations: NAME=VALUE,VALUE,...
  --cfg job           show the settings that would run, and run nothing
  --config-dir DIR    add YAML files of your own
  --config-name NAME  make one of these files the primary one
  --help              show this help, with the choices that --config-dir adds
  --hydra-help        show Hydra's other options
"""

_OWN = """\
A file DIR/GROUP/NAME.yaml adds the choice GROUP=NAME with --config-dir DIR, or
+GROUP=NAME if the group is not listed above. A file that sets what lies outside
its group begins with the line "# @package _global_".
"""


def help_text(own: Mapping[str, Sequence[str]] = MappingProxyType({})) -> str:
    """Return what ``fedsq run --help`` prints, in 80 columns.

    Parameters
    ----------
    own : mapping of str to sequence of str
        The names that the user's own files add to each group; the group of primary files is empty.
    """
    lines = [_USAGE, "Choices, GROUP=NAME:"]
    for group in GROUPS:
        lines += _choices(group, files_of(group))
    lines += ["", "Choices of your own:"]
    for group, names in own.items():
        if group:
            lines += _choices(group if group in GROUPS or "/" in group else f"+{group}", names)
    if own.get(""):
        lines += _choices("primary", [f"--config-name {name}" for name in own[""]])
    lines += [*([""] if own else []), _OWN, "Settings, NAME=VALUE, with their defaults:"]
    for group, entries in _grouped():
        lines += [] if not group else ["", f"{group}:"]
        for entry in entries:
            lines += _entry(entry)
    return "\n".join(lines)


def silo_help() -> str:
    """Return the settings that ``fedsq silo --help`` lists, in 80 columns."""
    lines = [
        "Settings, NAME=VALUE or NAME: VALUE in a file, with their defaults. Those",
        "without a default must be given; those of privacy where any of them is:",
    ]
    return "\n".join([*lines, *(line for entry in catalogue(SiloSettings).values() for line in _entry(entry))])


def _choices(group: str, names: Sequence[str]) -> list[str]:
    text = f"{group:<12}{'' if len(group) < 12 else ' '}{', '.join(names)}"
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent=" " * 14, break_on_hyphens=False)


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
        if entry.is_tag and not entry.description:  # files of ``conf`` choose, and are listed by themselves
            continue
        groups.setdefault(name.partition(".")[0] if "." in name else "", []).append(entry)
    yield from groups.items()


def _entry(entry: Entry) -> list[str]:
    head = f"  {entry.name}={_default(entry)}"
    told = f"{entry.description}{_only(entry)} [{allowed_values(entry)}]".replace("``", "")
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
