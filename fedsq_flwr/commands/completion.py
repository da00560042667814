"""``fedsq completion``: tab completion for bash, of commands, options, settings and their values."""

import argparse
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress

from hydra._internal.utils import get_args_parser

from fedsq_flwr.commands.hydra_main import choices_of
from fedsq_flwr.errors import FedSQError
from fedsq_flwr.settings.fields import Entry, Model, catalogue
from fedsq_flwr.settings.mistakes import choices
from fedsq_flwr.settings.reference import GROUPS, files_of
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import SiloSettings

#: Bash asks `fedsq` itself at each TAB. It replaces only what follows the last = or : of a word.
_BASH = """\
# Tab completion of fedsq in bash: eval "$(fedsq completion bash)"
_fedsq() {
    local line=${COMP_LINE:0:COMP_POINT} kept= found
    local word=${line##*[[:space:]]}
    [[ $COMP_WORDBREAKS == *=* ]] && kept=${word%"${word##*[=:]}"}
    COMPREPLY=()
    while IFS= read -r found; do
        COMPREPLY+=("${found#"$kept"}")
    done < <("$1" completion bash "$line" 2>/dev/null)
}
complete -o nospace -o default -F _fedsq fedsq
"""
_TAKE_SETTINGS: dict[str, Model] = {
    **dict.fromkeys(("run", "calibrate", "partition", "rehearse"), RunSettings),
    **dict.fromkeys(("silo", "doctor"), SiloSettings),
}


def completion(line: str | None, parser: argparse.ArgumentParser) -> list[str]:
    """Return the lines of the script for bash, or, for a ``line`` that is being typed, what its last word may become.

    Parameters
    ----------
    line : str or None
        The command line up to the cursor, the program's name included.
    parser : ArgumentParser
        That of ``fedsq``.
    """
    if line is None:
        return _BASH.splitlines()
    try:
        words = shlex.split(line)
    except ValueError:  # a quote is open
        return []
    if not line[-1:].strip():
        words.append("")
    return [word if word.endswith(("=", ".")) else f"{word} " for word in _candidates(words[1:], parser)]


def _candidates(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    *before, word = words or [""]
    commands = next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    if not before:
        return _beginning(word, [*commands, *_options(parser)])
    return _of_command(commands[before[0]], before, word) if before[0] in commands else []


def _of_command(command: argparse.ArgumentParser, before: Sequence[str], word: str) -> list[str]:
    """Return what ``word`` may become after the words ``before``, of which the first names the command."""
    model = _TAKE_SETTINGS.get(before[0])
    options = _options(command)
    if model is RunSettings:
        hydras = _options(get_args_parser())
        options |= (
            hydras if before[0] == "run" else {name: hydras[name] for name in ("--config-dir", "--config-name")}
        )
    awaiting = options.get(before[-1])
    if awaiting is not None and awaiting.nargs != 0:
        own = _own(before[1:-1]).get("", []) if awaiting.dest == "config_name" else None
        return _beginning(word, own or awaiting.choices or [])
    if word.startswith("-"):
        return _beginning(word, options)
    return _overrides(word, model, _own(before[1:])) if model else []


def _overrides(word: str, model: Model, own: dict[str, list[str]]) -> list[str]:
    groups = {group: files_of(group) for group in GROUPS} if model is RunSettings else {}
    for group, names in own.items():
        groups[group] = [*groups.get(group, []), *names]
    settings = {name: entry for name, entry in catalogue(model).items() if not name.endswith(".name")}
    name, equals, value = word.partition("=")
    if not equals:
        added = {f"{group}=" if group in GROUPS or "/" in group else f"+{group}=" for group in groups if group}
        for full in settings:
            top, dot, _ = full.partition(".")
            added.add(f"{full}=" if not dot or word.startswith(f"{top}.") else f"{top}.")
        return _beginning(word, added)
    head, comma, last = value.rpartition(",")  # of a sweep's values, the last is being typed
    plain = name.lstrip("+")
    values = groups.get(plain) or (_values(settings[plain]) if plain in settings else [])
    return [f"{name}={head}{comma}{found}" for found in _beginning(last, values)]


def _values(entry: Entry) -> list[str]:
    """Return the values of a setting where it lists them."""
    if entry.is_tag:
        return list(entry.fields)
    kinds = [kind for field in entry.fields.values() for kind in (field.annotation, *field.metadata)]
    listed = list(dict.fromkeys(value for kind in kinds for value in choices(kind)))
    return listed or (["true", "false"] if bool in kinds else [])


def _own(words: Sequence[str]) -> dict[str, list[str]]:
    """Return what the user's own files add; nothing as long as the line names no folder that can be read."""
    if not any(word.startswith(("-c", "--config", "hydra.searchpath")) for word in words):
        return {}
    with suppress(FedSQError, SystemExit):
        chosen, _ = get_args_parser().parse_known_intermixed_args(words)
        return choices_of(chosen)
    return {}


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return the options of a parser by their names, but for those of one dash and several letters."""
    actions = parser._option_string_actions.items()  # argparse has no public list
    return {name: action for name, action in actions if name.startswith("--") or len(name) == 2}


def _beginning(word: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(word))
