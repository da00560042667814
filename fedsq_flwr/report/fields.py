"""Reading JSON and YAML objects field by field, with errors that name the file and the field."""

from collections.abc import Iterator
from typing import Any

from fedsq_flwr.errors import DataError


class Fields:
    """One object of a file, read field by field.

    Parameters
    ----------
    where : str
        The file, and the line where it has several, as an error should name them.
    value : Any
        What the file held there; anything but an object with text keys is an error.
    """

    def __init__(self, where: str, value: Any) -> None:
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise DataError(f"{where}: should be an object with named fields, found {_brief(value)}")
        self.where = where
        self._values: dict[str, Any] = value

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def names(self) -> Iterator[str]:
        """Return the names of all fields."""
        return iter(self._values)

    def wrong(self, name: str, allowed: str) -> DataError:
        """Make the error for a field that is not what is allowed."""
        if name not in self._values:
            return DataError(f"{self.where}: the field '{name}' is missing")
        return DataError(f"{self.where}: '{name}' should be {allowed}, found {_brief(self._values[name])}")

    def number(self, name: str) -> float | None:
        """Read a number, which may be null but not absent; NaN and infinities are numbers here."""
        value = self._values.get(name)
        if _is_number(value) or (value is None and name in self._values):
            return None if value is None else float(value)
        raise self.wrong(name, "a number or null")

    def optional_number(self, name: str) -> float | None:
        """Read a number, None if it is null or absent."""
        return self.number(name) if name in self else None

    def whole(self, name: str) -> int:
        """Read a whole number."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, "a whole number")
        return value

    def optional_whole(self, name: str) -> int | None:
        """Read a whole number, None if it is null or absent."""
        return self.whole(name) if name in self else None

    def text(self, name: str) -> str:
        """Read a text."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise self.wrong(name, "a text")
        return value

    def inner(self, name: str) -> "Fields":
        """Read an object inside this one; absent is an error, null is too."""
        if not isinstance(self._values.get(name), dict):
            raise self.wrong(name, "an object")
        return Fields(f"{self.where}, '{name}'", self._values[name])

    def items(self, name: str) -> list[Any]:
        """Read a list."""
        value = self._values.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        return value

    def objects(self, name: str) -> list["Fields"]:
        """Read a list of objects."""
        return [Fields(f"{self.where}, '{name}'", value) for value in self.items(name)]

    def wholes(self, name: str) -> tuple[int, ...]:
        """Read a list of whole numbers."""
        return _wholes(self, name, self.items(name))

    def table(self, name: str) -> tuple[tuple[int, ...], ...]:
        """Read a list of equally long lists of whole numbers."""
        rows = self.items(name)
        if not all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows):
            raise self.wrong(name, "a list of equally long lists")
        return tuple(_wholes(self, name, row) for row in rows)


def _wholes(fields: Fields, name: str, values: list[Any]) -> tuple[int, ...]:
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise fields.wrong(name, "whole numbers")
    return tuple(values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _brief(value: Any) -> str:
    """Show the value on one short line, whatever it is."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
