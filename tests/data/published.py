"""Tiny stand-ins for published data sets, in the layouts that they are published in."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from datasets import Value as Plain
from PIL import Image as Pillow

from fedsq_flwr.data.decoded import Decoded
from fedsq_flwr.data.published import find_origin
from fedsq_flwr.data.published_facts import PUBLISHED

NAMES = ("airplane", "automobile", "bird")


def pictures(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """Random images ``(count, size, size, 3)`` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Pillow.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def dataset(
    pixels: Sequence[np.ndarray],
    labels: Sequence[int],
    image: str = "img",
    label: str = "label",
    names: Sequence[str] | None = NAMES,
) -> Dataset:
    """What the hub has: encoded images, and labels with names."""
    kind = Plain("int64") if names is None else ClassLabel(names=list(names))
    rows = {image: [{"bytes": png(picture), "path": None} for picture in pixels], label: list(labels)}
    return Dataset.from_dict(rows, features=Features({image: Image(), label: kind}))


def parquet(path: Path, *args: object, **kwargs: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset(*args, **kwargs).to_parquet(path)  # type: ignore[arg-type]


def read(name: str, path: Path) -> Decoded:
    return find_origin(name, PUBLISHED[name], path).read()


def as_stored(decoded: Decoded, part: str) -> np.ndarray:
    """The images of a part as `pictures` makes them."""
    images: np.ndarray = decoded.parts[part].images[:].permute(0, 2, 3, 1).numpy()
    return images
