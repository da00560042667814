"""Names of classes, groups and files, where they enter: as every log, page and file can hold them, or an error."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from fedsq_flwr.errors import DataError

#: Characters that turn the direction of the text around them, without being seen.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LONGEST = 200  # characters of a name in a message


def shown(name: Path | str) -> str:
    r"""Return a name or a path for a message: on one line, and as UTF-8 can hold it.

    Other characters are escaped: ``\xe9`` for a byte that is not UTF-8, ``\n`` for the end of a line.
    """
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(name))


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse a name of a class or a group that not every log, table, page and file can hold.

    Parameters
    ----------
    names : iterable of str
        As the file system, a file or the settings have them.
    where : str
        Where they are from, for the error.

    Raises
    ------
    DataError
        For the first name that is not UTF-8, or holds a control character, the end of a line, or a character that
        turns the direction of text.
    """
    for name in names:
        wrong = next((letter for letter in name if _is_refused(letter)), None)
        if wrong is not None:
            what = "a byte that is not UTF-8" if _is_byte(wrong) else f"the control character U+{ord(wrong):04X}"
            short = shown(name[:_LONGEST]) + ("..." if len(name) > _LONGEST else "")
            raise DataError(f"{where}: the name '{short}' holds {what}; rename it")


def _is_refused(letter: str) -> bool:
    never = unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
    return never or letter in _TURNING or ord(letter) & 0xFFFE == 0xFFFE  # the latter are no characters at all


def _is_byte(letter: str) -> bool:
    """Tell whether it stands for a byte that is not UTF-8 in a name of the file system."""
    return 0xDC80 <= ord(letter) <= 0xDCFF


def _escaped(letter: str) -> str:
    if _is_byte(letter):
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")
