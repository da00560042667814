"""The commands of a shell block, and a check of each without running it."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flwr.app import UserConfig
from flwr.common.config import parse_config_args
from hydra.core.override_parser.overrides_parser import OverridesParser

from fedsq_flwr.cli import main
from fedsq_flwr.commands.hydra_main import parse_words, sources_of
from fedsq_flwr.settings.composition import compose_settings

#: Each command, and the function that does it.
ACTIONS = {
    name: f"fedsq_flwr.commands.{name}.{name}"
    for name in (
        *("run", "calibrate", "partition", "report", "predict", "export"),
        *("silo", "doctor", "rehearse", "certs"),
    )
}
SCRIPTS = {"scripts/run": ["run"], "scripts/silos": ["rehearse"]}
#: Those that take settings of a run.
_TAKE_SETTINGS = ("run", "calibrate", "partition", "rehearse")


def lines_of(text: str) -> Iterator[list[str]]:
    """Give the words of each command of a block."""
    for line in text.replace("\\\n", " ").splitlines():
        yield from filter(None, [shlex.split(line, comments=True)])


def fedsq_words(words: list[str]) -> list[str] | None:
    """Return what `fedsq` is told by a command; None where it is another program's."""
    if words[0] in SCRIPTS:
        return [*SCRIPTS[words[0]], *words[1:]]
    for place, word in enumerate(words[:-1]):
        if Path(word).name == "fedsq" and words[place + 1] in ACTIONS:
            return words[place + 1 :]
    return None


def check(words: list[str], monkeypatch: pytest.MonkeyPatch, *, compose: bool = True) -> None:
    """Parse a command of `fedsq`, and compose the settings that it names."""
    with monkeypatch.context() as patch:
        for action in ACTIONS.values():
            patch.setattr(action, lambda *_, **__: [])
        assert main([word for word in words if word != "--help"]) == 0, words
    if compose and words[0] in _TAKE_SETTINGS:
        given = words[1:]
        if words[0] == "rehearse":
            given = given[1:]
        for option in ("--output", "--methods") if words[0] != "run" else ():
            if option in given:
                place = given.index(option)
                given = given[:place] + given[place + 2 :]
        compose_all(given)


def compose_all(words: list[str]) -> None:
    """Compose the settings of a command line; of values that a sweep lists, each once."""
    chosen = parse_words([word for word in words if word != "--help"])
    overrides = [word for word in chosen.overrides if not _of_a_plugin(word)]
    parsed = OverridesParser.create().parse_overrides(overrides)
    values: list[list[str]] = []
    for override, word in zip(parsed, overrides, strict=True):
        if not override.is_sweep_override():
            values.append([word])
        elif override.is_interval_sweep():
            values.append([f"{override.get_key_element()}={override.value().start}"])
        else:
            values.append([f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()])
    for turn in range(max(map(len, values), default=1)):
        picked = [options[turn % len(options)] for options in values]
        compose_settings(picked, sources_of(chosen), files=False)


def flower_config(words: list[str]) -> UserConfig | None:
    """Return the run config that a `flwr run` gives this app; None where it gives none, or is of another app."""
    if words[:3] != ["flwr", "run", "."]:
        return None
    return parse_config_args([words[words.index("--run-config") + 1]])


def _of_a_plugin(word: str) -> bool:
    """Tell whether a word is for a launcher or sweeper that comes with an extra."""
    return word.startswith(("hydra/", "hydra.launcher", "hydra.sweeper")) and "joblib" not in word


def runner(extra: list[str]) -> Callable[[list[str]], None]:
    """Return what runs a command of `fedsq`, with small settings added where a command takes settings."""

    def run(words: list[str]) -> None:
        assert main([*words, *(extra if words[0] in ("run", "partition") else [])]) == 0, words

    return run
