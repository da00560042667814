"""A small network, its images, and a trainable copy of it: alone, and under fixed gates."""

from collections.abc import Iterator

import pytest
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from fedsq_flwr.learning.threads import torch_threads
from tests.gating.gated_networks import batch_for, build


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are faster on one thread, by far on a busy machine."""
    with torch_threads(1):
        yield


@pytest.fixture(params=[QuantitativeCopy, DualCopy])
def model_class(request: pytest.FixtureRequest) -> type[QuantitativeCopy]:
    """Both are a quantitative copy: what is said of one holds for the other."""
    return request.param


@pytest.fixture
def network() -> nn.Module:
    """Convolutions, batch norms, in-place ReLUs and a residual add, in evaluation mode."""
    return build("residual add")


@pytest.fixture
def model(model_class: type[QuantitativeCopy], network: nn.Module) -> QuantitativeCopy:
    return model_class(network)


@pytest.fixture
def images(network: nn.Module) -> Tensor:
    return batch_for(network)[0]


@pytest.fixture
def labels(network: nn.Module) -> Tensor:
    return batch_for(network)[1]
