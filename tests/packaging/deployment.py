"""The files by which a federation is deployed, read for the tests."""

import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "examples" / "silos"


def commands() -> set[str]:
    """The commands that an installation of this checkout has."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return {*project["scripts"], *(script.name for script in entry_points(group="console_scripts"))}


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, with what follows each in one line."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def environment(dockerfile: Path) -> dict[str, str]:
    """What the image's processes find in their environment: that of the last stage."""
    last = [rest for word, rest in instructions(dockerfile) if word in ("FROM", "ENV")]
    last = last[max(i for i, rest in enumerate(last) if "=" not in rest) + 1 :]
    return dict(pair.split("=", 1) for line in last for pair in line.split())


def compose() -> dict:
    return yaml.safe_load((CHECKOUT / "compose.yaml").read_text())


def unit(path: Path) -> dict[str, list[str]]:
    """The settings of a systemd unit, each with all of its values."""
    settings: dict[str, list[str]] = {}
    lines = path.read_text().replace("\\\n", " ").splitlines()
    for line in lines:
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings.setdefault(name, []).append(value.strip())
    return settings


def options(words: list[str]) -> dict[str, str]:
    """``--name value``, ``--name=value`` and ``--name`` as a dictionary."""
    found: dict[str, str] = {}
    for i, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            following = words[i + 1] if i + 1 < len(words) else "--"
            found[name] = value if equals else "" if following.startswith("--") else following
    return found
