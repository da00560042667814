"""Files written in one step, and files read as what anybody may have changed.

A file of JSON has a model: a class that says what the file holds, and that both writes and reads it. Whatever a file
holds instead is one line that names the file, the field and what was found.
"""

import json
import math
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, ValidationError

from fedsq_flwr.errors import DataError, RunFailedError

#: The most bytes of a file of JSON that is read. The partition of ten million samples has fewer.
LARGEST = 2**28
#: Above any number of things that a file may state.
MOST = 2**63

Model = TypeVar("Model", bound=BaseModel)
Item = TypeVar("Item")
#: A list of JSON, kept as a tuple.
Several = Annotated[tuple[Item, ...], Field(strict=False, fail_fast=True)]
#: A number of things.
Count = Annotated[int, Field(ge=0, lt=MOST)]
#: A number that was measured, which may have run away: NaN and infinities are read, and written as null.
Measured = Annotated[float, AllowInfNan(True)] | None

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "string": "a text",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "an object",
    "model": "an object",
}
_SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class FileModel(BaseModel):
    """What a file of JSON, or an object in one, holds.

    Fields that this version does not know are passed over: a later version may write more. Fields with a default may
    be missing: an earlier version wrote fewer.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True)


@contextmanager
def opened(path: Path, where: str | None = None, at_most: int = LARGEST) -> Iterator[BinaryIO]:
    """Open a file to be read.

    Parameters
    ----------
    path : Path
        The file.
    where : str, optional
        What an error calls it; by default its path.
    at_most : int
        Larger files are refused.

    Raises
    ------
    DataError
        One line, if there is no such file, it is a folder, device or pipe, it is too large, or it cannot be read.
    """
    where = where or str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{where}: is no file, but a {_kind_of(status.st_mode)}")
        if status.st_size > at_most:
            raise DataError(f"{where}: has {status.st_size:,} bytes; at most {at_most:,} are read")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{where}: there is no such file") from None
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        raise DataError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_bytes(path: Path, where: str | None = None, at_most: int = LARGEST) -> bytes:
    """Return the content of a file; parameters and errors are those of `opened`."""
    with opened(path, where, at_most) as file:
        return file.read()


def parse_as(model: type[Model], content: bytes | str, where: str) -> Model:
    """Return JSON as a model.

    Parameters
    ----------
    model : type
        What the JSON should hold.
    content : bytes or str
        The JSON.
    where : str
        The file, and the line where it has several, as an error should name them.

    Raises
    ------
    DataError
        One line with the first field that is not as it should be.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise DataError(_explain(error, where)) from error


def check_as(model: type[Model], data: Any, where: str) -> Model:
    """Return mappings, lists and single values as a model.

    Raises
    ------
    DataError
        As `parse_as`.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise DataError(_explain(error, where)) from error


def _explain(error: ValidationError, where: str) -> str:
    """Return one line that begins with ``where`` and names the first field that is not as it should be."""
    first: Any = error.errors(include_url=False)[0]
    told, limits = first["type"], first.get("ctx", {})
    names = [str(name) for name in first["loc"] if name != "[key]"]
    if told == "json_invalid":
        return f"{_place(where, names)}: not JSON: {limits['error']}"
    if told == "value_error":
        return f"{_place(where, names)}: {limits['error']}"
    if not names:
        return f"{where}: should be an object with named fields, found {_brief(first['input'])}"
    place, last = _place(where, names[:-1]), names[-1]
    if told == "missing":
        return f"{place}: the field '{last}' is missing"
    allowed = next((f"{_SIGNS[sign]} {limits[sign]:g}" for sign in _SIGNS if sign in limits), None)
    allowed = allowed or _KINDS.get(told.partition("_")[0], str(limits.get("expected", first["msg"])))
    return f"{place}: '{last}' should be {allowed}, found {_brief(first['input'])}"


def read_as(model: type[Model], path: Path, where: str | None = None) -> Model:
    """Return the content of a file of JSON as a model.

    Raises
    ------
    DataError
        As `opened` and `parse_as`.
    """
    return parse_as(model, read_bytes(path, where), where or str(path))


def plain(model: BaseModel) -> Any:
    """Return a model as JSON has it, with the fields that were given and no others; null for what is not finite."""
    return finite(model.model_dump(exclude_unset=True, by_alias=True))


def finite(value: Any) -> Any:
    """Return ``value`` with None for each number in it that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def write_as_json(path: Path, model: BaseModel) -> None:
    """Write a model to ``path``, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    write_whole(path, (json.dumps(plain(model), indent=2, allow_nan=False) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, replacing what is there, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; then nothing is left behind.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn the error of a full or read-only disk into one line.

    Raises
    ------
    RunFailedError
        Names the file, or ``place`` where the system names none.
    """
    try:
        yield
    except OSError as error:
        raise RunFailedError(f"{error.filename or place}: cannot be written: {error.strerror or error}") from error


def _place(where: str, names: list[str]) -> str:
    return ", ".join([where, *(f"'{name}'" for name in names)])


def _brief(value: Any) -> str:
    """Show a value on one short line, whatever it is."""
    if isinstance(value, list | dict) and value:
        return f"a list of {len(value)}" if isinstance(value, list) else f"an object of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind_of(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
    return next((name for test, name in kinds if test(mode)), "device")


def oldest_beyond(paths: Iterable[Path], kept: int) -> list[Path]:
    """Return the paths that have to go so that at most ``kept`` are left: those that were changed longest ago."""
    by_age = sorted(paths, key=lambda path: path.stat().st_mtime_ns)
    return by_age[: max(0, len(by_age) - kept)]
