"""A small silo: images, labels, and a network with batch norm and dropout."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.learning.threads import torch_threads


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are faster on one thread, by far on a busy machine."""
    with torch_threads(1):
        yield


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(96, 4),
        ).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(21, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(4, (21,), generator=torch.Generator().manual_seed(2))
