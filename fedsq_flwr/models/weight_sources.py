"""Where weights come from: a local file, torchvision's published ones, or the Hugging Face hub."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.weights import read_metadata

#: File of a checkpoint of a run, and where that of its best round lies in the run's directory.
CHECKPOINT = "quantitative.safetensors"
BEST = Path("checkpoints", "best")


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights on this machine, and what its publisher says about it; None where nothing is said.

    Attributes
    ----------
    path : Path
        The file.
    source : str
        Where it is from, exact enough to get it again.
    licence : str or None
        As its publisher names it.
    input_size : int or None
        Pixels a side of the images that it was trained on.
    mean, deviation : tuple of float or None
        Of the pixels (between 0 and 1), for each channel or one for all; images are normalised by them.
    sha256_begins : str
        First digits of the sha256 of what was published, where its name says so.
    """

    path: Path
    source: str
    licence: str | None = None
    input_size: int | None = None
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    sha256_begins: str = ""


def locate_weights(backbone: str, name: str) -> WeightsFile:
    """Find the file that ``name`` means for the network ``backbone``, downloading it if it must be.

    Parameters
    ----------
    backbone : str
        A name in `BACKBONES`.
    name : str
        Path of a ``.safetensors``, ``.pth`` or ``.pt`` file; of a run's directory, which means the checkpoint of
        its best round, or of ``checkpoints/best`` or ``checkpoints/last`` in it; ``hf:owner/name[/file][@revision]``;
        or a name that torchvision publishes weights under, such as ``IMAGENET1K_V1``.

    Raises
    ------
    WeightsError
        If there is no such file or name, or it is not here and cannot be downloaded.
    """
    if name.startswith("hf:"):
        from fedsq_flwr.models.hub_weights import hub_weights

        return hub_weights(name)
    if Path(name).suffix in (".safetensors", ".pth", ".pt"):
        return _local_weights(Path(name).expanduser())
    if Path(name).expanduser().is_dir():
        return _local_weights(_checkpoint(Path(name).expanduser()))
    from fedsq_flwr.models.torchvision_weights import torchvision_weights

    return torchvision_weights(backbone, name)


def stated(path: Path) -> dict[str, Any]:
    """Return what a safetensors file says about itself, as fields of `WeightsFile`; empty for other files.

    Its metadata (strings by name) may hold ``mean`` and ``deviation`` (a number, or a list with one for
    each channel), ``input_size`` (pixels) and ``licence``.

    Raises
    ------
    WeightsError
        If the file cannot be read, or one of them is not such a value.
    """
    said: Mapping[str, str] = read_metadata(path) if path.suffix == ".safetensors" else {}
    fields: dict[str, Any] = {}
    try:
        for name in ("mean", "deviation"):
            if name in said:
                value = json.loads(said[name])
                fields[name] = tuple(map(float, value if isinstance(value, list) else [value]))
        if "input_size" in said:
            fields["input_size"] = int(said["input_size"])
    except (ValueError, TypeError) as error:
        raise WeightsError(f"weights file {path}: its metadata cannot be read: {error}") from error
    if "licence" in said:
        fields["licence"] = said["licence"]
    return fields


def _checkpoint(directory: Path) -> Path:
    for file in (directory / CHECKPOINT, directory / BEST / CHECKPOINT):
        if file.is_file():
            return file
    raise WeightsError(f"backbone.weights={directory}: is no run's directory: it holds no {BEST / CHECKPOINT}")


def _local_weights(path: Path) -> WeightsFile:
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist")
    return WeightsFile(path=path, source="local file", **stated(path))
