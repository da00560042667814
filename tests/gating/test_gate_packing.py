"""Gates as values: one bit a ReLU, a few bits a winner, and what is packed comes back."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedsq_flwr.gating import DualCopy, Gates
from fedsq_flwr.gating.packed.bits import gate_bits, pack_bits, unpack_bits
from fedsq_flwr.gating.packed.layout import ActivationLayout, PoolLayout
from fedsq_flwr.gating.packed.winners import WinnerCode
from tests.gating.gated_networks import BUILDERS, batch_for, build

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def rectified(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).relu()


@given(samples=st.integers(0, 6), count=st.integers(1, 200), dtype=st.sampled_from(FLOATS), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=60)
def test_bits_come_back_as_they_were_packed_whatever_their_number(
    samples: int, count: int, dtype: torch.dtype, seed: int
) -> None:
    activations = rectified(samples, count, seed=seed).to(dtype)
    words = pack_bits(activations)
    assert words.dtype == torch.int32
    assert words.shape == (samples, math.ceil(count / 32))
    assert torch.equal(unpack_bits(words, count), activations > 0)


def test_zero_negative_zero_and_nan_close_a_gate() -> None:
    activations = torch.tensor([[0.0, -0.0, 1e-45, float("nan"), float("inf")]])
    assert unpack_bits(pack_bits(activations), 5).tolist() == [[False, False, True, False, True]]


def test_more_samples_than_are_handled_at_a_time_are_all_packed_and_gated() -> None:
    activations = rectified(9, 2**17)
    words, values = pack_bits(activations), torch.randn(9, 2**17)
    assert torch.equal(unpack_bits(words, 2**17), activations > 0)
    assert torch.equal(gate_bits(values, words, out=torch.empty_like(values)), values * (activations > 0))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [1, 32, 45])
def test_gating_passes_every_value_as_it_is_and_closes_to_positive_zero(dtype: torch.dtype, count: int) -> None:
    words = pack_bits(rectified(6, count))
    values = torch.randn(6, count).to(dtype)
    values[0, 0], values[1, 0], values[2, 0] = float("nan"), float("-inf"), -0.0
    is_open = unpack_bits(words, count)

    gated = gate_bits(values, words, out=torch.empty_like(values))

    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    assert torch.equal(gated.view(integers), values.view(integers).where(is_open, 0))
    assert torch.equal(gate_bits(values, words, out=values).view(integers), gated.view(integers))


@pytest.mark.parametrize("shape", [(5,), (3, 4, 5), (2, 3, 2, 2)])
def test_masks_come_back_in_their_shape(shape: tuple[int, ...]) -> None:
    activations = rectified(4, *shape)
    layout = ActivationLayout.of(activations)
    assert torch.equal(layout.unpack(layout.pack(activations)), activations > 0)


def test_bits_of_a_channels_last_activation_are_in_its_own_order() -> None:
    activations = rectified(4, 3, 5, 6)
    last = activations.contiguous(memory_format=torch.channels_last)
    layout = ActivationLayout.of(last)
    assert layout == ActivationLayout((3, 5, 6), channels_last=True)
    assert layout.fits(last)
    assert not layout.fits(activations)
    assert torch.equal(layout.unpack(layout.pack(last)), activations > 0)


POOLINGS = {
    "2 x 2": (lambda x: F.max_pool2d_with_indices(x, 2), (8, 6), 2),
    "3 x 3, overlapping, padded": (lambda x: F.max_pool2d_with_indices(x, 3, 2, 1), (9, 7), 4),
    "dilated, ceil mode": (lambda x: F.max_pool2d_with_indices(x, 2, 3, 1, 2, True), (9, 9), 4),
    "adaptive, unequal windows": (lambda x: F.adaptive_max_pool2d_with_indices(x, (3, 5)), (8, 11), 4),
    "the whole plane": (lambda x: F.adaptive_max_pool2d_with_indices(x, 1), (20, 20), 16),
    "one place": (lambda x: F.max_pool2d_with_indices(x, 1), (4, 4), 1),
    "line": (lambda x: F.max_pool1d_with_indices(x, 3, 2, 1), (11,), 2),
    "volume": (lambda x: F.max_pool3d_with_indices(x, 2), (4, 6, 4), 4),
}


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("channels", [1, 3])
def test_winners_come_back_and_take_as_many_bits_as_a_window_needs(name: str, channels: int) -> None:
    pooling, plane, bits = POOLINGS[name]
    _, winners = pooling(torch.randn(5, channels, *plane, generator=torch.Generator().manual_seed(1)))
    code = WinnerCode.of(pooling, plane)
    layout = PoolLayout(tuple(winners.shape[1:]), plane, code)
    assert code.bits == bits
    assert torch.equal(layout.unpack(layout.pack(winners)), winners)
    assert layout.nbytes <= math.ceil(winners[0].numel() * bits / 32) * 4 + 4


def test_codes_of_equal_windows_are_equal() -> None:
    two, other = POOLINGS["2 x 2"][0], POOLINGS["one place"][0]
    assert WinnerCode.of(two, (8, 6)) == WinnerCode.of(two, (8, 6))
    assert WinnerCode.of(two, (8, 6)) != WinnerCode.of(two, (6, 8))
    assert WinnerCode.of(two, (4, 4)) != WinnerCode.of(other, (4, 4))


@pytest.mark.parametrize("name", BUILDERS)
def test_packed_gates_are_the_gates_of_a_pass(name: str) -> None:
    network = build(name)
    images, _ = batch_for(network)
    dual = DualCopy(network)
    gates = dual.gates(images)
    with torch.no_grad():
        assert torch.equal(dual(images, gates), dual(images))


def test_gates_and_winners_are_told_apart_and_keep_their_order() -> None:
    network = build("pool: nn.MaxPool2d")
    images, _ = batch_for(network)
    gates = DualCopy(network).gates(images)
    assert [type(part).__name__ for part in gates.layout] == ["ActivationLayout", "PoolLayout", "ActivationLayout"]
    assert [tuple(mask.shape[1:]) for mask in gates.masks()] == [(8, 8, 8), (6, 4, 4)]
    assert [tuple(winners.shape[1:]) for winners in gates.winners()] == [(8, 4, 4)]


def test_gates_of_some_samples_are_those_samples_gates() -> None:
    network = build("pool: nn.MaxPool2d")
    images, _ = batch_for(network)
    gates = DualCopy(network).gates(images)
    some = gates[torch.tensor([4, 1])]
    assert isinstance(some, Gates)
    assert len(some) == 2
    assert torch.equal(some.masks()[1], gates.masks()[1][[4, 1]])
    assert torch.equal(some.winners()[0], gates.winners()[0][[4, 1]])


@pytest.mark.parametrize(
    ("name", "size", "row"), [("torchvision ResNet-18", 32, 7936), ("CIFAR ResNet-20", 32, 23552)]
)
def test_a_row_has_the_bytes_that_were_reckoned(name: str, size: int, row: int) -> None:
    network = build(name)
    gates = DualCopy(network).gates(torch.randn(8, network.size[0], size, size))
    assert gates.rows.shape == (8, row)
    assert gates.nbytes == 8 * row
