"""A model's folder as the Hugging Face hub lays it out: a file of weights, and ``config.json`` beside it."""

import json
from pathlib import Path
from typing import Any

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.pixel_statistics import image_side, pixel_statistics

#: Files of weights, in the order in which they are looked for.
FILES = ("model.safetensors", "pytorch_model.bin")
CONFIGURATION = "config.json"


def find_weights(folder: Path) -> Path | None:
    """Return the file of weights in a local folder, if there is one."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def read_configuration(path: Path) -> dict[str, Any]:
    """Return what ``pretrained_cfg`` in a ``config.json`` states (timm's convention), as fields of `WeightsFile`.

    Raises
    ------
    WeightsError
        If the file cannot be read, or one of the values is not as it should be.
    """
    where = f"{path}: cannot be read as a model's configuration"
    try:
        told = json.loads(path.read_text(encoding="utf-8")).get("pretrained_cfg") or {}
        licence, size = told.get("license"), told.get("input_size")  # channels, height, width
        side = None if size is None else size[-1]
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise WeightsError(f"{where}: {error}") from error
    fields: dict[str, Any] = dict(pixel_statistics(where, told))
    if side is not None:
        fields["input_size"] = image_side(where, side)
    if licence is not None:
        fields["licence"] = str(licence)
    return fields
