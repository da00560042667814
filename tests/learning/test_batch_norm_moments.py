"""Statistics of batch norm that are estimated again: by hand over the silos' batches, in one pass of each silo."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.learning import batch_norm_moments as module
from fedsq_flwr.learning.batch_norm_moments import batch_norm_moments, running_statistics, values_of_one_image


class Twice(nn.Module):
    """A batch norm after a convolution, one after a pooling, which is called twice, and one on features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.again, self.drop = nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.linear, self.last, self.head = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.max_pool2d(F.relu_(self.first(self.conv(images))), 3)
        hidden = self.drop(self.again(F.relu(self.again(hidden)))).mean((2, 3))
        return self.head(F.relu(self.last(self.linear(hidden))))


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Twice().train()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "BATCH_SIZE", 8)
    return


def silo(number: int) -> Tensor:
    """9, 14 and 19 images, of another scale in each silo; the first has a remainder of one."""
    generator = torch.Generator().manual_seed(number)
    return number + (1 + number) * torch.randn(9 + 5 * number, 1, 8, 8, generator=generator)


def by_hand(network: Twice, batches: list[Tensor]) -> dict[str, Tensor]:
    """What enters each batch norm, over all batches, each of which is normalised by itself."""
    entered: dict[str, list[Tensor]] = {"first": [], "again": [], "last": []}

    def normalise(name: str, values: Tensor) -> Tensor:
        entered[name].append(values.double().transpose(0, 1).flatten(1))
        norm = network.get_submodule(name)
        return F.batch_norm(values, None, None, norm.weight, norm.bias, training=True)

    with torch.no_grad():
        for images in batches:
            hidden = F.max_pool2d(F.relu(normalise("first", network.conv(images))), 3)
            hidden = normalise("again", F.relu(normalise("again", hidden))).mean((2, 3))
            normalise("last", network.linear(hidden))
    pooled = {name: torch.cat(values, 1) for name, values in entered.items()}
    means = {f"{name}.running_mean": values.mean(1) for name, values in pooled.items()}
    return means | {f"{name}.running_var": values.var(1) for name, values in pooled.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_are_those_of_all_values_of_all_silos(network: Twice, dtype: torch.dtype) -> None:
    network.to(dtype)
    moments = [batch_norm_moments(network, silo(number).to(dtype)) for number in range(3)]
    pooled = {name: moments[0][name] + moments[1][name] + moments[2][name] for name in moments[0]}
    found = running_statistics(pooled)
    first, second, third = (silo(number).to(dtype) for number in range(3))
    batches = [first, *second.split(8), third[:8], third[8:16], third[16:]]
    expected = by_hand(network, batches)
    assert found.keys() == expected.keys() <= network.state_dict().keys()
    for name, values in found.items():
        assert values.dtype == torch.float32
        torch.testing.assert_close(values.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_the_network_stays_as_it_is(network: Twice) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batch_norm_moments(network, silo(0))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_each_image_gives_as_many_values_as_one_does(network: Twice) -> None:
    each = values_of_one_image(network, torch.zeros(1, 1, 8, 8))
    assert each == {"first": 36, "again": 8, "last": 1}
    assert {n: m.count for n, m in batch_norm_moments(network, silo(1)).items()} == {
        n: 14 * v for n, v in each.items()
    }


def test_without_images_there_are_none(network: Twice) -> None:
    with pytest.raises(ValueError, match="there are no images"):
        batch_norm_moments(network, torch.zeros(0, 1, 8, 8))
