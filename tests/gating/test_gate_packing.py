"""Gates as values: one bit a ReLU, and what is packed comes back."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsq_flwr.gating import DualCopy, Gates
from fedsq_flwr.gating.record import PoolGate, ReluGate
from tests.gating.gated_networks import batch_for, build

SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)
CPU = torch.device("cpu")


@given(samples=st.integers(1, 6), shape=SHAPES, seed=st.integers(0, 999), as_bool=st.booleans())
@settings(deadline=None, max_examples=60)
def test_masks_come_back_as_they_were_packed_whatever_their_size(
    samples: int, shape: tuple[int, ...], seed: int, as_bool: bool
) -> None:
    values = torch.randn(samples, *shape, generator=torch.Generator().manual_seed(seed))
    values[values.abs() < 0.2] = 0.0
    source = values > 0 if as_bool else values

    gates = Gates.pack([ReluGate(source, source._version)])

    (mask,) = gates.masks()
    (unpacked,) = gates.unpack(CPU)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, values > 0)
    assert torch.equal(unpacked.source > 0, values > 0)
    assert unpacked.is_intact()
    assert gates.nbytes == samples * math.ceil(math.prod(shape) / 8)


@given(
    samples=st.integers(1, 5),
    shape=SHAPES,
    largest=st.sampled_from([0, 1, 127, 128, 255, 256, 32767, 32768, 2**31 - 1]),
)
@settings(deadline=None, max_examples=60)
def test_winners_come_back_as_they_were_packed_whatever_the_largest(
    samples: int, shape: tuple[int, ...], largest: int
) -> None:
    count = samples * math.prod(shape)
    winners = torch.linspace(0, largest, count, dtype=torch.float64).round().to(torch.int64).view(samples, *shape)
    winners[-1] = largest

    gates = Gates.pack([PoolGate(winners, (largest + 1,))])

    (unpacked,) = gates.unpack(CPU)
    assert torch.equal(gates.winners()[0], winners)
    assert torch.equal(unpacked.winners, winners)
    assert unpacked.plane == (largest + 1,)
    assert gates.nbytes <= 8 * count


def test_winners_take_one_byte_each_in_small_planes() -> None:
    network = build("pool: F.max_pool2d")
    images, _ = batch_for(network)
    gates = DualCopy(network).gates(images)
    assert [entry.nbytes for entry in gates.entries] == [len(images) * 8 * 4 * 4, len(images) * 6 * 4 * 4 // 8]


def test_gates_and_winners_are_told_apart_and_keep_their_order() -> None:
    network = build("pool: nn.MaxPool2d")
    images, _ = batch_for(network)
    gates = DualCopy(network).gates(images)
    assert [type(entry).__name__ for entry in gates.entries] == ["PackedRelu", "PackedPool", "PackedRelu"]
    assert [tuple(mask.shape[1:]) for mask in gates.masks()] == [(8, 8, 8), (6, 4, 4)]
    assert [tuple(winners.shape[1:]) for winners in gates.winners()] == [(8, 4, 4)]


def test_zero_and_negative_zero_close_a_gate() -> None:
    source = torch.tensor([[0.0, -0.0, 1e-45, -1.0, float("inf")]])
    assert Gates.pack([ReluGate(source, 0)]).masks()[0].tolist() == [[False, False, True, False, True]]


@pytest.mark.parametrize("name", ["CIFAR ResNet-20", "torchvision ResNet-18"])
def test_packed_gates_take_one_bit_an_activation(name: str) -> None:
    network = build(name)
    images, _ = batch_for(network, count=8)
    gates = DualCopy(network).gates(images)
    bits = sum(mask.numel() for mask in gates.masks())
    relus = sum(entry.nbytes for entry in gates.entries if type(entry).__name__ == "PackedRelu")
    assert bits / 8 <= relus <= bits / 8 + 8 * len(gates.masks())
