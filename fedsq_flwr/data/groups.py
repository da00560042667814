"""Which group each image of a folder is of: the hospital, the camera, the writer, from a CSV file."""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

from fedsq_flwr.data.names import check_names, shown
from fedsq_flwr.errors import DataError

COLUMNS = ("file", "group")


def read_groups(path: Path, files: Sequence[str], others: Collection[str]) -> tuple[str, ...]:
    """Read the group of each of ``files``.

    Parameters
    ----------
    path : Path
        A CSV file in UTF-8 with the columns ``file`` and ``group``; others are not looked at.
    files : sequence of str
        Images as the file names them: by their path in the folder of images, with ``/``.
    others : collection of str
        Further images that it may name.

    Raises
    ------
    DataError
        One line, if it cannot be read, lacks an image, names one twice, or names what is none; or `check_names`
        refuses the name of a group.
    """
    groups: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            if not {*COLUMNS} <= {*(reader.fieldnames or [])}:
                _refuse(path, f"must have the columns {' and '.join(COLUMNS)}")
            for row in reader:
                file, group = ((row[column] or "").strip() for column in COLUMNS)
                if file in groups:
                    _refuse(path, f"names {shown(file)} twice (line {reader.line_num})")
                if not group:
                    _refuse(path, f"has no group for {shown(file)} (line {reader.line_num})")
                groups[file] = group
    except FileNotFoundError:
        _refuse(path, "there is no such file; partition=natural needs the group of each image")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        _refuse(path, f"cannot be read: {error}")
    known = {*files, *others}
    unknown = [file for file in groups if file not in known]
    if unknown:
        _refuse(path, f"names {_first(unknown)}: no image of the folder")
    lacking = [file for file in files if file not in groups]
    if lacking:
        _refuse(path, f"has no group for {_first(lacking)}")
    check_names(groups.values(), f"partition.groups={path}")
    return tuple(groups[file] for file in files)


def _refuse(path: Path, why: str) -> NoReturn:
    raise DataError(f"partition.groups={path}: {why}")


def _first(files: Sequence[str]) -> str:
    return shown(files[0]) if len(files) == 1 else f"{shown(files[0])} and {len(files) - 1} more"
