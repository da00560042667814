"""Max-pooling is a gate too: its winners come from the structural copy, unless the option says otherwise."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy
from tests.gating.gated_networks import POOLING_1D_SPELLINGS, POOLING_SPELLINGS, Images, batch_for, build


class Pooled(nn.Module):
    """``scale * image``, pooled: one weight, so that every number can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.scale.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.scale(x), 2).flatten(1)


IMAGE = torch.tensor([[1.0, 2.0, 8.0, 7.0], [3.0, 4.0, 6.0, 5.0]]).view(1, 1, 2, 4)


def negated(pool_gates: bool) -> DualCopy:
    dual = DualCopy(Pooled().eval(), pool_gates=pool_gates)
    with torch.no_grad():
        dual.quantitative.scale.weight.neg_()
    return dual


def test_winners_are_the_structural_copys() -> None:
    assert negated(pool_gates=True)(IMAGE).tolist() == [[-4.0, -8.0]]


def test_without_pool_gates_winners_are_the_quantitative_copys_own_maximum() -> None:
    assert negated(pool_gates=False)(IMAGE).tolist() == [[-1.0, -5.0]]


def test_winners_are_flat_places_in_the_plane() -> None:
    assert negated(pool_gates=True).gates(IMAGE).winners()[0].tolist() == [[[[5, 2]]]]


def test_without_pool_gates_there_are_no_winners_to_keep() -> None:
    gates = negated(pool_gates=False).gates(IMAGE)
    assert gates.winners() == []
    assert gates.nbytes == 0


def test_the_gradient_goes_to_the_winners() -> None:
    dual = negated(pool_gates=True)
    dual(IMAGE).sum().backward()
    assert dual.quantitative.scale.weight.grad.item() == 4 + 8


@pytest.mark.parametrize("spelling", [*POOLING_SPELLINGS, *POOLING_1D_SPELLINGS])
def test_every_spelling_of_max_pooling_is_gated(spelling: str) -> None:
    network = build(f"pool: {spelling}")
    images, _ = batch_for(network)
    gated, free = (len(DualCopy(network, pool_gates=option).gates(images).winners()) for option in (True, False))
    assert (gated, free) == (1, 0)


def test_winners_that_the_network_asks_for_are_the_fixed_ones() -> None:
    seen: list[Tensor] = []

    def pool(x: Tensor) -> Tensor:
        y, winners = F.max_pool2d(x, 2, return_indices=True)
        seen.append(winners)
        return y

    network = Images(pool).eval()
    dual = DualCopy(network)
    with torch.no_grad():
        dual.quantitative.first.weight.neg_()
    dual(batch_for(network)[0])
    assert len(seen) > 1
    assert torch.equal(seen[0], seen[-1])
