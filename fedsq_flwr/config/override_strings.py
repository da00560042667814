"""Overrides as strings: several in one, and values written so that Hydra reads just them."""

import re
from types import MappingProxyType

from fedsq_flwr.config.calibration import Value
from fedsq_flwr.errors import ConfigurationError

_CLOSING = MappingProxyType({"'": "'", '"': '"', "[": "]", "{": "}", "(": ")"})


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


def written(value: Value) -> str:
    """Write ``value`` as an override has it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return quoted(value) if isinstance(value, str) else repr(value)
