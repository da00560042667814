"""Bad settings without end: each is taken, or refused by one line that names it.

Settings are drawn from the classes, values from what people and programs write by mistake. A part goes to the classes
as JSON would, a part through Hydra's command line, and a part into the files of a silo.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.fields import catalogue
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import SiloSettings
from fedsq_flwr.settings.silo_file import read_silo_settings

_LONGEST_LINE = 700  # characters
_SLOWEST = 5.0  # seconds
_FORMS = ("{}={}", "{}={}", "{}={}", "+{}={}", "++{}={}", "~{}={}", "{}='{}'", "{}{}", "{}@x={}")

#: Values of every kind that JSON and YAML have, and some beyond.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 0.5, -0.5, 1e-300, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
    *(2**31, 2**53, 2**63 - 1, 2**63, 10**30, 10**400, 10**5000, "", " ", "none", "null", "true", "0", "1e9", "nan"),
    *("a" * 300, "b/" * 3000, "~nosuchuser", "~", "/", "/dev/null", "/dev/zero", "/no/such", "..", "x\0y", "ä\u202e"),
    *("\x1b[31m", "${output}", "${nothing}", "${", "$(id)", "%(name)s", "'", '"', "[", "]", "{", "}", ",", "=", "#"),
    *("a=b", "fedsq", "fedavg", "digits", "imagefolder", "dirichlet", "iid", "silos", "simulation", "resnet18"),
    *("vgg16", "mnist", "hf:a/b", "hf:", "IMAGENET1K_V1", "x.pth", "x.safetensors", "frozen", "late", "cuda:99"),
    *([], [None], [1], [1, 2, 3], [0.5, "x"], [[1]], ["a", "a"], {}, {"name": "nope"}, {"a": {"b": 1}}, [10**400]),
)


def told(draw: Callable[[], Any]) -> str:
    """Return "taken", or "refused" if ``draw`` ends with one line; anything else is an error.

    Raises
    ------
    AssertionError
        If the line is none, or too long, or took too long.
    """
    began = time.monotonic()
    try:
        draw()
        outcome = "taken"
    except ConfigurationError as error:
        line = str(error)
        assert line == line.strip() and len(line.splitlines()) == 1, repr(line)
        assert len(line) <= _LONGEST_LINE, line
        assert line.isprintable(), repr(line)
        outcome = "refused"
    assert time.monotonic() - began < _SLOWEST
    return outcome


def as_json(random_: random.Random) -> Callable[[], Any]:
    """Return settings with a few bad values, to be parsed by the classes."""
    nested = RunSettings(experiment="none").plain()
    for _ in range(random_.choice((1, 1, 2, 3))):
        _put(nested, random_.choice([*catalogue(RunSettings), "nope", "method.nope", "data"]), random_.choice(VALUES))
    return lambda: RunSettings.parse(nested)


def as_overrides(random_: random.Random) -> Callable[[], Any]:
    """Return overrides for Hydra with a few bad values."""
    names = [*catalogue(RunSettings), "method", "data", "partition", "executor", "backbone", "nope", "experiment"]
    words = []
    for _ in range(random_.choice((1, 1, 2, 3))):
        value = random_.choice(VALUES)
        text = str(value) if not isinstance(value, int) or abs(value) < 10**400 else "1" + "0" * 5000
        words.append(random_.choice(_FORMS).format(random_.choice(names), text))
    return lambda: compose_settings(words)


def as_silo_file(random_: random.Random, folder: Path) -> Callable[[], Any]:
    """Return the words of a silo: a file with bad values or bad bytes, or values on the command line."""
    given: dict[str, Any] = {"superlink": "localhost:9092", "silo": 0, "silos": 2, "data_path": str(folder)}
    for _ in range(random_.choice((1, 1, 2))):
        given[random_.choice([*SiloSettings.model_fields, "nope"])] = random_.choice(VALUES)
    shown = {name: value for name, value in given.items() if not isinstance(value, int) or abs(value) < 10**400}
    content = bytearray(yaml.safe_dump(shown, allow_unicode=True).encode())
    for _ in range(random_.choice((0, 0, 1, 5))):
        content[random_.randrange(len(content))] = random_.randrange(256)
    file = folder / "silo.yaml"
    file.write_bytes(bytes(content))
    words = [f"{name}=1{'0' * 5000}" for name in given if name not in shown]
    return lambda: read_silo_settings([str(file), *words])


def soak(count: int, seed: int, seconds: float) -> Counter[str]:
    """Try ``count`` settings, or as many as ``seconds`` allow, and return how many were taken and refused."""
    random_, outcomes, end = random.Random(seed), Counter[str](), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            kind = ("json", "json", "json", "overrides", "silo")[number % 5]
            draws: Mapping[str, Callable[[], Callable[[], Any]]] = {
                "json": lambda: as_json(random_),
                "overrides": lambda: as_overrides(random_),
                "silo": lambda: as_silo_file(random_, Path(folder)),
            }
            state = random_.getstate()
            try:
                outcomes[f"{kind} {told(draws[kind]())}"] += 1
            except Exception as error:
                random_.setstate(state)
                error.add_note(f"seed={seed}, number {number}, {kind}")
                raise
            if time.monotonic() > end:
                break
    return outcomes


def _put(nested: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        level = nested.get(group)
        nested[group] = nested = level if isinstance(level, dict) else {}
    nested[last] = value


def main() -> None:
    """Parse the arguments, try the settings and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="settings to try (default 10,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3600.0, help="the most to spend (default an hour)")
    chosen = parser.parse_args()
    for outcome, number in sorted(soak(chosen.count, chosen.seed, chosen.seconds).items()):
        print(f"{outcome}: {number}")


if __name__ == "__main__":
    main()
