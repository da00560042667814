"""Settings whose pretraining takes a fraction of a second."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from fedsq_flwr.assembly import pretraining
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings

Settings = Callable[..., RunSettings]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are faster on one thread, by far on a busy machine."""
    with torch_threads(1):
        yield


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """64 random images in place of the source domain; holds the thread count at each time it was loaded."""
    loaded: list[int] = []

    def load() -> LabelledImages:
        loaded.append(torch.get_num_threads())
        generator = torch.Generator().manual_seed(0)
        return LabelledImages(torch.rand(64, 1, 28, 28, generator=generator), torch.arange(64) % 10)

    monkeypatch.setattr(pretraining, "load_mnist_subset", load)
    return loaded


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The directory of pretrained weights."""
    return tmp_path / "cache"


@lru_cache
def composed(*overrides: str) -> RunSettings:
    return compose_settings(overrides)


@pytest.fixture
def settings(cache: Path, source: list[int]) -> Settings:
    """A function of overrides: settings with a cache of their own and the least of pretraining."""
    short = ["backbone.pretraining.epochs=1", "backbone.pretraining.batch_size=32", "backbone.image_size=8"]

    def compose(*overrides: str) -> RunSettings:
        return composed(*short, *overrides).changed(cache_dir=str(cache))

    return compose
