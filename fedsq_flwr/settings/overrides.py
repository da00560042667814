"""Overrides as strings: which setting each is of, several in one string, and values written for Hydra to read."""

import re
from types import MappingProxyType

from fedsq_flwr.errors import ConfigurationError

Value = str | int | float | bool | None

_CLOSING = MappingProxyType({"'": "'", '"': '"', "[": "]", "{": "}", "(": ")"})


def key_of(override: str) -> str:
    """Return the setting or group that an override is of."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0].strip()


def split_overrides(text: str) -> list[str]:
    """Split a string of overrides at blanks that nothing encloses; quotes and brackets enclose, and stay for Hydra.

    Raises
    ------
    ConfigurationError
        If a quote or bracket is not closed.
    """
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
