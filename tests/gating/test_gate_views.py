"""Views of samples in the gate cache: each has a row of its own, equal to a recomputation to the bit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedsq_flwr.gating import DualCopy, GateCache, bind, check_affine
from fedsq_flwr.learning import AUGMENTATIONS
from tests.gating.gated_networks import batch_for, build, perturb, same_bits

COUNT = 24
ALL = torch.arange(COUNT)
FLIP = AUGMENTATIONS["flip"]


@pytest.fixture
def dual_and_images() -> tuple[DualCopy, Tensor]:
    network = build("pool: nn.MaxPool2d")
    return DualCopy(network), batch_for(network, count=COUNT)[0]


@pytest.mark.parametrize("on_disk", [False, True])
def test_kept_gates_of_either_view_equal_recomputed_ones_to_the_bit(
    dual_and_images: tuple[DualCopy, Tensor], on_disk: bool, tmp_path: Path
) -> None:
    dual, images = dual_and_images
    cache = GateCache(directory=tmp_path / "gates" if on_disk else None)
    kept = bind(cache, dual, images, view="flip", views=2)
    assert kept is not None
    for seed in range(6):  # until each sample was seen in both views
        source = torch.Generator().manual_seed(seed)
        for batch in torch.randperm(COUNT, generator=source).split(8):
            views = FLIP.draw(len(batch), images.shape[1:], source)
            shown = FLIP.apply(images[batch], views)
            assert torch.equal(kept.of(batch, shown, views).rows, dual.gates(shown).rows)
    before = cache.misses
    flipped = torch.flip(images, (-1,))
    assert torch.equal(kept.of(ALL, flipped, torch.ones(COUNT, dtype=torch.int64)).rows, dual.gates(flipped).rows)
    assert torch.equal(kept.of(ALL, images).rows, dual.gates(images).rows)
    assert not torch.equal(dual.gates(images).rows, dual.gates(flipped).rows)
    assert before <= 2 * COUNT
    assert cache.misses == 2 * COUNT


def test_the_budget_holds_rows_of_the_first_view_first(dual_and_images: tuple[DualCopy, Tensor]) -> None:
    dual, images = dual_and_images
    row = dual.gates(images).rows.shape[1]
    cache = GateCache(max_bytes=(COUNT + 10) * row)
    kept = bind(cache, dual, images, view="flip", views=2)
    assert kept is not None
    ones, flipped = torch.ones(COUNT, dtype=torch.int64), images.flip(-1)
    for _ in range(2):
        assert torch.equal(kept.of(ALL, images).rows, dual.gates(images).rows)
        assert torch.equal(kept.of(ALL, flipped, ones).rows, dual.gates(flipped).rows)
    assert cache.hits == COUNT + 10
    assert cache.nbytes == cache.max_bytes


def test_images_with_views_and_without_are_kept_apart(dual_and_images: tuple[DualCopy, Tensor]) -> None:
    dual, images = dual_and_images
    cache = GateCache()
    for options in ({}, {"view": "flip", "views": 2}, {"view": "other", "views": 2}):
        kept = bind(cache, dual, images, **options)
        assert kept is not None
        kept.of(ALL, images)
    assert (cache.hits, cache.misses) == (0, 3 * COUNT)


@pytest.mark.parametrize("augmentation", ["flip", "flip_crop"])
def test_under_the_gates_of_a_view_averaging_a_layer_averages_the_outputs(augmentation: str) -> None:
    named, network = AUGMENTATIONS[augmentation], build("residual add")
    images, _ = batch_for(network, count=COUNT)
    shown = named.apply(images, named.draw(COUNT, images.shape[1:], torch.Generator().manual_seed(0)))
    assert not torch.equal(shown, images)
    dual = DualCopy(network)
    gates = dual.gates(shown)
    assert same_bits(dual(shown, gates), dual(shown))
    check_affine(dual, shown[:2])
    outputs = []
    name = next(name for name, tensor in dual.quantitative.named_parameters() if tensor.ndim > 1)
    start = dict(dual.quantitative.named_parameters())[name].detach().clone()
    weight = dict(dual.quantitative.named_parameters())[name]
    change = torch.randn(start.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for step in (-0.1, 0.3, 0.1):  # the last is the mean of the others
            weight.copy_(start + step * change)
            outputs.append(dual(shown, gates))
    torch.testing.assert_close(outputs[2], (outputs[0] + outputs[1]) / 2)
    perturb(dual.quantitative)
    assert torch.equal(dual.gates(shown).rows, gates.rows)
